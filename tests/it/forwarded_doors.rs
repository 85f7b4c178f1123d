//! Who gets to the listener for terminators, and that without it no header says anything about certificates.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use lanyard::config;
use lanyard::server::StartError;
use rustls::AlertDescription;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use crate::support::calls::opened;
use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::http::Http;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::terminator::KINDS;
use crate::support::terminator::Kind;
use crate::support::terminator::Stream;
use crate::support::terminator::client_cert;
use crate::support::terminator::listen;
use crate::support::terminator::own_uid;
use crate::support::terminator::with_headers;
use crate::support::terminator::xfcc;

/// The answer to a request for the keys with a forwarded certificate.
async fn answer(server: &TestServer, mut stream: impl Stream) -> String {
    let value = xfcc(&server.svid("/checkout"));
    let head = format!(
        "GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\nx-forwarded-client-cert: {value}\r\nconnection: close\r\n\r\n"
    );
    drop(stream.write_all(head.as_bytes()).await);
    String::from_utf8(read_to_end(&mut stream).await).unwrap()
}

fn is_jwks(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("{\"keys\":[")
}

#[tokio::test]
async fn there_is_no_such_listener_unless_the_configuration_has_it() {
    assert_eq!(TestServer::start().await.server.forwarded(), None);
}

#[tokio::test]
async fn a_process_of_another_user_is_closed_on_without_a_word() {
    let mut setup = Setup::default();
    let uid = own_uid(&setup);
    setup.forwarded = Some(format!("{{unix: forwarded.sock, peer_uid: {}}}", uid + 1));
    setup.write();
    let server = setup.start().await.unwrap();
    let stream = UnixStream::connect(server.setup.path("forwarded.sock")).await.unwrap();
    assert_eq!(answer(&server, stream).await, "");
    drop(server);

    let server = TestServer::behind(Kind::Unix).await;
    let stream = UnixStream::connect(server.setup.path("forwarded.sock")).await.unwrap();
    assert!(is_jwks(&answer(&server, stream).await));
}

#[tokio::test]
async fn only_the_terminator_with_its_exact_spiffe_id_comes_through_the_handshake() {
    for client_auth in ["require", "request"] {
        let server = TestServer::started(|setup| {
            listen(setup, Kind::Mtls);
            setup.tls = format!("  client_auth: {client_auth}");
        })
        .await;
        let address = server.server.forwarded().and_then(config::ForwardedListener::address).unwrap();
        let denied = Outcome::Alert(AlertDescription::AccessDenied);
        for path in ["/checkout", "/admin", "/proxy", "/ingress/below", "/ingres", "/Ingress"] {
            assert_eq!(knock(address, server.tls(&server.svid(path))).await, denied, "{path}");
        }
        let foreign = server.setup.other_ca.svid("spiffe://other.example/ingress").issue();
        assert_eq!(knock(address, server.tls(&foreign)).await, denied);
        let corp = server.setup.corp.client_certificate().common_name("ingress").issue();
        assert_eq!(knock(address, server.tls(&corp)).await, denied);
        let forged = server.setup.other_ca.svid("spiffe://prod.example/ingress").issue();
        assert_eq!(knock(address, server.tls(&forged)).await, Outcome::Alert(AlertDescription::UnknownCA));
        let nobody = server.tls_builder().with_no_client_auth();
        assert_eq!(knock(address, nobody).await, Outcome::Alert(AlertDescription::CertificateRequired));
        let plain = answer(&server, TcpStream::connect(address).await.unwrap()).await;
        assert!(!plain.contains("HTTP"), "{plain}");
        assert!(is_jwks(
            &answer(&server, connect(address, http1_only(server.tls(&server.svid("/ingress")))).await.unwrap()).await
        ));
    }
}

#[tokio::test]
async fn a_terminator_whose_own_certificate_expires_is_believed_no_more() {
    let server = TestServer::behind(Kind::Mtls).await;
    server.workload("/checkout").await;
    let id = "spiffe://prod.example/checkout";
    let leaf = server.setup.ca.svid(id).between(server.now(), server.now().after(Duration::from_hours(9))).issue();
    let request = || {
        let form = [("grant_type", "client_credentials"), ("client_id", id)];
        with_headers(post("/oauth2/token", &form), &[("client-cert", client_cert(&leaf))])
    };
    let mut http = server.terminator().http().await;
    http.send(request()).await.ok();
    server.advance(Duration::from_hours(1) + Duration::from_secs(1));
    let refused = http.send(request()).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    assert!(refused.body.contains("the terminator no longer proves it"), "{refused:?}");
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let server = TestServer::behind(Kind::Unix).await;
    let path = server.setup.path("forwarded.sock");
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    server.server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_listens_at_is_replaced_and_nothing_else_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("forwarded.sock");
    let prepared = || {
        let mut setup = Setup::default();
        setup.forwarded = Some(format!("{{unix: {}, peer_uid: {}}}", path.display(), own_uid(&setup)));
        setup.write();
        setup
    };
    let refused = |outcome: Result<TestServer, StartError>| {
        let error = outcome.map(|_| ()).unwrap_err();
        if let StartError::BindUnix { error, .. } = &error { error.kind() } else { panic!("{error}") }
    };
    drop(UnixListener::bind(&path).unwrap());
    let server = prepared().start().await.unwrap();
    assert!(is_jwks(&answer(&server, UnixStream::connect(&path).await.unwrap()).await));
    // Nobody takes it from the one who listens,
    assert_eq!(refused(prepared().start().await), io::ErrorKind::AddrInUse);
    assert!(is_jwks(&answer(&server, UnixStream::connect(&path).await.unwrap()).await));
    // who in turn leaves what somebody has put in its place.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "of value").unwrap();
    server.server.stop().await;
    assert_eq!(refused(prepared().start().await), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "of value");

    let elsewhere = dir.path().join("stale");
    drop(UnixListener::bind(&elsewhere).unwrap());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(refused(prepared().start().await), io::ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn connections_end_at_their_maximum_age_and_when_the_server_stops() {
    for kind in KINDS {
        let server = TestServer::started(|setup| {
            listen(setup, kind);
            setup.tls = "  connection_max_age: 300ms".to_owned();
        })
        .await;
        let head = format!(
            "GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\nclient-cert: {}\r\n\r\n",
            client_cert(&server.svid("/checkout"))
        );
        let mut stream = server.terminator().connect_http1().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 200 "), "{kind:?}");
    }
    for kind in KINDS {
        let server = TestServer::behind(kind).await;
        let terminator = server.terminator();
        let mut idle = terminator.connect_http1().await.unwrap();
        let head = b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n";
        idle.write_all(head).await.unwrap();
        // Its answer has come, and so it is known to have been taken up.
        let mut first = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut idle, &mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 401");
        server.server.stop().await;
        read_to_end(&mut idle).await;
        assert!(terminator.connect().await.is_err(), "{kind:?}");
    }
}

/// In all the spellings that servers and proxies know.
#[tokio::test]
async fn on_the_mtls_listener_no_header_says_anything_about_certificates() {
    let server = TestServer::started(|setup| setup.tls = "  client_auth: request".to_owned()).await;
    let (own, other) = (server.workload("/checkout").await, server.workload("/billing").await);
    let [element, item] = [xfcc(&other), client_cert(&other)];
    let encoded = crate::support::forwarded::url_encoded(&other.pem());
    let mut headers: Vec<(&str, &str)> = vec![
        ("x-forwarded-client-cert", &element),
        ("X-Forwarded-Client-Cert", &element),
        ("X-FORWARDED-CLIENT-CERT", &element),
        ("x_forwarded_client_cert", &element),
        ("x-forwarded-client_cert", &element),
        ("forwarded", "for=spiffe://prod.example/billing;by=spiffe://prod.example/ingress"),
        ("client-cert", &item),
        ("Client-Cert", &item),
        ("client_cert", &item),
        ("client-cert-chain", &item),
    ];
    let names = [
        "x-ssl-client-cert",
        "ssl-client-cert",
        "ssl_client_cert",
        "x-client-cert",
        "x-client-certificate",
        "x-forwarded-tls-client-cert",
        "x-forwarded-tls-client-cert-info",
        "x-amzn-mtls-clientcert",
        "x-amzn-mtls-clientcert-leaf",
        "x-arr-clientcert",
        "x-tls-client-cert",
        "x-apigw-client-cert",
        "cf-client-cert",
        "x-client-verify",
        "ssl-client-verify",
        "x-ssl-client-s-dn",
        "ssl-client-subject-dn",
        "x-forwarded-user",
        "x-spiffe-id",
        "l5d-client-id",
    ];
    headers.extend(names.map(|name| (name, encoded.as_str())));
    assert!(headers.len() >= 20);
    let form = "grant_type=client_credentials&client_id=";
    let ask = async |stream: &mut (dyn Stream + '_), id: &str, header: &str| {
        let body = format!("{form}{}", id.replace(':', "%3A").replace('/', "%2F"));
        let head = format!(
            "POST /oauth2/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
            content-length: {}\r\nconnection: close\r\n{header}\r\n{body}",
            body.len()
        );
        drop(stream.write_all(head.as_bytes()).await);
        let answer = String::from_utf8(read_to_end(&mut Box::new(stream)).await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let anonymous = server.tls_builder().with_no_client_auth();
    for (name, value) in headers {
        let header = format!("{name}: {value}\r\n{name}: {value}\r\n");
        let connect = async |config| connect(server.addresses.mtls, http1_only(config)).await.unwrap();
        let (status, body) = ask(&mut connect(server.tls(&own)).await, "spiffe://prod.example/checkout", &header).await;
        assert_eq!(status, "200", "{name}");
        let bound = opened(body["access_token"].as_str().unwrap()).1["cnf"]["x5t#S256"].clone();
        assert_eq!(bound, own.thumbprint().to_string(), "{name}");
        for config in [server.tls(&own), anonymous.clone()] {
            let (status, body) = ask(&mut connect(config).await, "spiffe://prod.example/billing", &header).await;
            assert_eq!((&*status, &body["error"]), ("401", &"invalid_client".into()), "{name}");
        }
    }
    // Nor on the others, which know no callers.
    let mut public = Http::one(connect(server.addresses.public, http1_only(anonymous)).await.unwrap()).await;
    let asked = with_headers(post("/oauth2/token", &[]), &[("x-forwarded-client-cert", element)]);
    assert_eq!(public.send(asked).await.status, 404);
}

#[test]
fn the_section_names_exactly_one_kind_of_terminator_in_full() {
    let problem = |forwarded: &str, dev: bool| {
        let setup = Setup { forwarded: Some(forwarded.to_owned()), ..Setup::default() };
        setup.write();
        let path = setup.path("lanyard.yaml");
        if dev {
            fs::write(&path, format!("dev: true\n{}", fs::read_to_string(&path).unwrap())).unwrap();
        }
        config::load(&path).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (sound, dev) in [
        ("{unix: /run/lanyard/x.sock, peer_uid: 0}", true),
        ("{mtls: '0.0.0.0:9443', terminator: spiffe://prod.example/ingress}", false),
        ("{mtls: '127.0.0.1:9443', terminator: spiffe://other.example/ingress}", true),
        ("{tcp: '127.0.0.1:9444', insecure: true}", true),
        ("{tcp: '[::1]:9444', insecure: true}", false),
    ] {
        assert_eq!(problem(sound, dev), "", "{sound}");
    }
    for (unsound, said) in [
        ("{}", "either unix"),
        ("{unix: x.sock}", "either unix"),
        ("{peer_uid: 0}", "either unix"),
        ("{unix: x.sock, peer_uid: 0, insecure: true}", "either unix"),
        ("{unix: x.sock, peer_uid: 0, tcp: '127.0.0.1:1', insecure: true}", "either unix"),
        ("{mtls: '127.0.0.1:1'}", "either unix"),
        ("{mtls: '127.0.0.1:1', peer_uid: 0}", "either unix"),
        ("{mtls: '127.0.0.1:1', terminator: spiffe://prod.example/a, insecure: true}", "either unix"),
        ("{mtls: '127.0.0.1:1', terminator: spiffe://prod.example/*}", "exact SPIFFE ID"),
        ("{mtls: '127.0.0.1:1', terminator: spiffe://prod.example}", "exact SPIFFE ID"),
        ("{mtls: '127.0.0.1:1', terminator: ingress}", "exact SPIFFE ID"),
        ("{mtls: '127.0.0.1:1', terminator: spiffe://unknown.example/a}", "no bundle"),
        ("{tcp: '127.0.0.1:1'}", "insecure: true"),
        ("{tcp: '127.0.0.1:1', insecure: false}", "insecure: true"),
        ("{tcp: '0.0.0.0:1', insecure: true}", "loopback"),
        ("{tcp: '10.0.0.1:1', insecure: true}", "loopback"),
        ("{tcp: '[::]:1', insecure: true}", "loopback"),
        ("{tcp: '[::ffff:127.0.0.1]:1', insecure: true}", "loopback"),
        (&format!("{{unix: /{}, peer_uid: 0}}", "x".repeat(107)), "107 bytes"),
    ] {
        let problem = problem(unsound, false);
        assert!(problem.starts_with("listeners.forwarded: ") && problem.contains(said), "{unsound}: {problem}");
    }
    for unreadable in ["{unix: x.sock, peer_uid: -1}", "{tcp: localhost, insecure: true}", "{uds: x.sock, peer_uid: 0}"]
    {
        assert!(problem(unreadable, false).contains("line"), "{unreadable}");
    }
    let abroad = problem("{mtls: '0.0.0.0:9443', terminator: spiffe://prod.example/ingress}", true);
    assert!(abroad.starts_with("listeners: a dev set-up"), "{abroad}");
}

#[test]
fn config_check_says_whose_word_is_taken() {
    let setup = Setup { forwarded: Some("{tcp: '127.0.0.1:9444', insecure: true}".to_owned()), ..Setup::default() };
    setup.write();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    let output = command.args(["config", "check", "--config"]).arg(setup.path("lanyard.yaml")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("forwarded to 127.0.0.1:9444, insecure"), "{said}");
}
