//! Behind a terminator: certificates that come in a header, held to the rules of the handshake.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use lanyard::config;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::IssueTokenResponse;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ListRevocationsRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::hex;
use crate::support::check::orders;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::channel;

const GATEWAY: &str = "spiffe://prod.example/gateway";

/// A request with these headers.
fn with<T>(message: T, headers: &[(&'static str, String)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// What a terminator writes with Envoy's header.
fn xfcc(leaf: &Leaf) -> Vec<(&'static str, String)> {
    let header = format!("By={GATEWAY};Hash={};Cert=\"{}\"", hex(leaf), url_encoded(leaf));
    vec![("x-forwarded-client-cert", header)]
}

/// The same with RFC 9440's headers, of which it takes two where there are intermediates.
fn rfc_9440(leaf: &Leaf) -> Vec<(&'static str, String)> {
    let sequences: Vec<String> = leaf.chain.iter().map(|der| format!(":{}:", STANDARD.encode(der))).collect();
    let mut headers = vec![("client-cert", sequences[0].clone())];
    if sequences.len() > 1 {
        headers.push(("client-cert-chain", sequences[1..].join(", ")));
    }
    headers
}

async fn issue(channel: &Channel, headers: &[(&'static str, String)]) -> Result<IssueTokenResponse, Status> {
    let mut tokens = TokenServiceClient::new(channel.clone());
    tokens.issue_token(with(IssueTokenRequest::default(), headers)).await.map(tonic::Response::into_inner)
}

/// The thumbprint that a token is bound to.
fn bound_to(response: &IssueTokenResponse) -> String {
    opened(&response.access_token).1["cnf"]["x5t#S256"].as_str().unwrap().to_owned()
}

/// A server behind a terminator with an SVID, and the terminator's channel to it.
async fn behind_a_gateway() -> (TestServer, Channel) {
    let forwarded = format!("{{mtls: '127.0.0.1:0', terminator: '{GATEWAY}'}}");
    let server = TestServer::started(|setup| setup.forwarded = Some(forwarded)).await;
    let gateway = server.svid("/gateway");
    let address = server.server.forwarded_address().unwrap();
    let terminator = channel(address, server.tls(&gateway));
    (server, terminator)
}

fn plain(server: &TestServer) -> Channel {
    let address = server.server.forwarded_address().unwrap();
    let connect = tower::service_fn(move |_: tonic::transport::Uri| async move {
        TcpStream::connect(address).await.map(TokioIo::new)
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

fn by_socket(path: std::path::PathBuf) -> Channel {
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

/// The user that the tests run as: the owner of a file that they make.
fn own_uid() -> u32 {
    std::fs::metadata(tempfile::tempdir().unwrap().path()).unwrap().uid()
}

#[tokio::test]
async fn a_token_is_bound_to_the_certificate_that_the_terminator_passes_on() {
    let (server, terminator) = behind_a_gateway().await;
    let checkout = server.workload("/checkout").await;
    for headers in [xfcc(&checkout), rfc_9440(&checkout)] {
        let issued = issue(&terminator, &headers).await.unwrap();
        assert_eq!(bound_to(&issued), checkout.thumbprint().to_string());
    }
    // With intermediates, in either header.
    let below = server.setup.ca.intermediate("below").svid("spiffe://prod.example/checkout").issue();
    issue(&terminator, &rfc_9440(&below)).await.unwrap();
    let pem: String = below.chain.iter().map(|der| crate::support::leaf::pem(der)).collect();
    let chain = percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string();
    let header = format!("Hash={};Cert=\"{}\";Chain=\"{chain}\"", hex(&below), url_encoded(&below));
    issue(&terminator, &[("x-forwarded-client-cert", header)]).await.unwrap();
    assert_eq!(issue(&terminator, &xfcc(&below)).await.unwrap_err().code(), Code::Unauthenticated);
    // A self-signed one that is registered.
    let own = self_signed("own").issue();
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let request = IssueTokenRequest { client_id: "own".to_owned(), ..IssueTokenRequest::default() };
    let issued = TokenServiceClient::new(terminator).issue_token(with(request, &rfc_9440(&own))).await.unwrap();
    assert_eq!(bound_to(issued.get_ref()), own.thumbprint().to_string());
}

#[tokio::test]
async fn the_whole_certificate_of_one_peer_is_required_in_one_way() {
    let (server, terminator) = behind_a_gateway().await;
    let checkout = server.workload("/checkout").await;
    let (both, hash, cert) = ([xfcc(&checkout), rfc_9440(&checkout)].concat(), hex(&checkout), url_encoded(&checkout));
    let forwarded = |value: String| vec![("x-forwarded-client-cert", value)];
    let sequence = || rfc_9440(&checkout).remove(0).1;
    for headers in vec![
        Vec::new(),
        both,
        [xfcc(&checkout), xfcc(&checkout)].concat(),
        [rfc_9440(&checkout), rfc_9440(&checkout)].concat(),
        forwarded(format!("By={GATEWAY};Hash={hash}")),
        forwarded("URI=spiffe://prod.example/checkout".to_owned()),
        forwarded(format!("Cert=\"{cert}\",Cert=\"{cert}\"")),
        forwarded(format!("By=spiffe://prod.example/other;Cert=\"{cert}\"")),
        forwarded(format!("By={GATEWAY};By=spiffe://prod.example/other;Cert=\"{cert}\"")),
        forwarded(format!("Hash={};Cert=\"{cert}\"", "0".repeat(64))),
        forwarded("garbage".to_owned()),
        vec![("client-cert-chain", sequence())],
        vec![("client-cert", sequence().replace(':', ""))],
        vec![("client-cert", format!("{0}, {0}", sequence()))],
        [xfcc(&checkout), vec![("client-cert-chain", sequence())]].concat(),
        vec![("x-ssl-client-cert", cert.clone())],
    ] {
        let refused = issue(&terminator, &headers).await;
        let expected = (Code::Unauthenticated, "CERTIFICATE_NOT_FORWARDED".to_owned());
        assert_eq!(refusal(refused), expected, "{headers:?}");
    }
}

// The same rules as in the handshake, looked at on every request
#[tokio::test]
async fn a_forwarded_certificate_is_proven_as_in_the_handshake() {
    let (server, terminator) = behind_a_gateway().await;
    let checkout = server.workload("/checkout").await;
    let ca = &server.setup.ca;
    let id = "spiffe://prod.example/checkout";
    for (name, leaf) in [
        ("of another trust domain's CA", server.setup.other_ca.svid(id).issue()),
        ("expired", ca.svid(id).expired().issue()),
        ("not valid yet", ca.svid(id).not_yet_valid().issue()),
        ("with two names", ca.svid(id).uri("https://x.example").issue()),
        ("that may sign", ca.svid(id).with_crl_sign().issue()),
        ("self-signed", self_signed("stranger").issue()),
    ] {
        let refused = refusal(issue(&terminator, &xfcc(&leaf)).await);
        assert_eq!(refused, (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()), "{name}");
    }
    // On the open connection: a revoked one, another root, and the end of its validity.
    issue(&terminator, &xfcc(&checkout)).await.unwrap();
    let short = ca.svid(id).between(server.now(), server.now().after(Duration::from_mins(1))).issue();
    issue(&terminator, &xfcc(&short)).await.unwrap();
    server.advance(Duration::from_secs(61));
    assert!(issue(&terminator, &xfcc(&short)).await.is_err());
    issue(&terminator, &xfcc(&checkout)).await.unwrap();
    std::fs::write(server.setup.path("ca.pem"), TestCa::new("prod.example").pem()).unwrap();
    server.server.reload();
    assert!(issue(&terminator, &xfcc(&checkout)).await.is_err());
}

#[tokio::test]
async fn nobody_but_the_terminator_passes_certificates_on() {
    let (server, _) = behind_a_gateway().await;
    let checkout = server.workload("/checkout").await;
    let address = server.server.forwarded_address().unwrap();
    for path in ["/checkout", "/gateway2", "/gateway/x", "/proxy", "/admin"] {
        let other = channel(address, server.tls(&server.svid(path)));
        assert!(issue(&other, &xfcc(&checkout)).await.is_err(), "{path}");
    }
    let without = plain(&server);
    assert!(issue(&without, &xfcc(&checkout)).await.is_err(), "without TLS");
}

#[tokio::test]
async fn a_forwarded_peer_is_never_an_operator_and_may_be_a_proxy() {
    let (server, terminator) = behind_a_gateway().await;
    server.protect(orders()).await.unwrap();
    let (checkout, admin, proxy) = (server.workload("/checkout").await, server.svid("/admin"), server.svid("/proxy"));
    let list = with(ListClientsRequest::default(), &xfcc(&admin));
    let refused = RegistryServiceClient::new(terminator.clone()).list_clients(list).await;
    assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    for operator in ["/auditor", "/revoker"] {
        let list = with(ListRevocationsRequest::default(), &xfcc(&server.svid(operator)));
        let refused = TokenServiceClient::new(terminator.clone()).list_revocations(list).await;
        assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()), "{operator}");
        let itself = server.tokens(&server.svid(operator)).list_revocations(ListRevocationsRequest::default()).await;
        assert!(itself.is_ok(), "{operator}: {itself:?}");
    }
    let token = issue(&terminator, &xfcc(&checkout)).await.unwrap().access_token;
    let mut checks =
        lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient::new(terminator);
    let asked = || Asked::with(&token, &checkout).message();
    assert_eq!(answer(checks.check(with(asked(), &xfcc(&proxy))).await.unwrap().get_ref()).http(), 200);
    assert_eq!(answer(checks.check(with(asked(), &xfcc(&checkout))).await.unwrap().get_ref()).reason(), "NOT_A_PROXY");
    assert_eq!(answer(checks.check(asked()).await.unwrap().get_ref()).reason(), "NOT_A_PROXY");
}

#[tokio::test]
async fn a_unix_socket_is_for_one_user_and_goes_with_the_server() {
    let setup = |setup: &mut Setup, uid: u32| {
        let path = setup.path("forwarded.sock");
        setup.forwarded = Some(format!("{{unix: {}, peer_uid: {uid}}}", path.display()));
    };
    let server = TestServer::started(|changed| setup(changed, own_uid())).await;
    let path = server.setup.path("forwarded.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let checkout = server.workload("/checkout").await;
    let issued = issue(&by_socket(path.clone()), &xfcc(&checkout)).await.unwrap();
    assert_eq!(bound_to(&issued), checkout.thumbprint().to_string());
    let TestServer { server, .. } = server;
    server.stop().await;
    assert!(!path.exists());

    let server = TestServer::started(|changed| setup(changed, own_uid() + 1)).await;
    let checkout = server.workload("/checkout").await;
    let refused = issue(&by_socket(server.setup.path("forwarded.sock")), &xfcc(&checkout)).await;
    assert!(refused.is_err(), "of another user");
}

#[tokio::test]
async fn a_socket_that_was_left_over_is_replaced_and_nothing_else_is() {
    let start = async |setup: Setup| {
        setup.write();
        setup.start().await
    };
    let folder = tempfile::tempdir().unwrap();
    let with_socket = || {
        let mut setup = Setup::default();
        let path = folder.path().join("forwarded.sock");
        setup.forwarded = Some(format!("{{unix: {}, peer_uid: 0}}", path.display()));
        (setup, path)
    };
    let (setup, path) = with_socket();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    start(setup).await.unwrap().server.stop().await;
    let (setup, path) = with_socket();
    let listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(start(setup).await.is_err(), "somebody listens there");
    drop(listening);
    std::fs::remove_file(&path).unwrap();
    let (setup, path) = with_socket();
    std::fs::write(&path, "precious").unwrap();
    assert!(start(setup).await.is_err(), "it is no socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn over_plain_tcp_a_peer_is_a_workload_and_nothing_else() {
    let forwarded = "{tcp: '127.0.0.1:0', insecure: true}".to_owned();
    let server = TestServer::started(|setup| setup.forwarded = Some(forwarded)).await;
    let (checkout, proxy, admin) = (server.workload("/checkout").await, server.svid("/proxy"), server.svid("/admin"));
    let channel = plain(&server);
    issue(&channel, &xfcc(&checkout)).await.unwrap();
    let refused = issue(&channel, &[]).await;
    assert_eq!(refusal(refused), (Code::Unauthenticated, "CERTIFICATE_NOT_FORWARDED".to_owned()));
    let list = with(ListClientsRequest::default(), &xfcc(&admin));
    assert_eq!(
        RegistryServiceClient::new(channel.clone()).list_clients(list).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut checks = lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient::new(channel);
    let asked = with(Asked::with("x", &checkout).message(), &xfcc(&proxy));
    assert_eq!(answer(checks.check(asked).await.unwrap().get_ref()).reason(), "NOT_A_PROXY");
}

// On the mTLS listener such headers are ignored, no matter which client sends them
#[tokio::test]
async fn on_the_mtls_listener_no_header_changes_who_calls() {
    let server = TestServer::start().await;
    let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
    let cert = url_encoded(&checkout);
    let mut forged = [xfcc(&checkout), rfc_9440(&checkout)].concat();
    forged.extend(
        [
            "x-client-cert",
            "x-ssl-client-cert",
            "x-ssl-cert",
            "ssl-client-cert",
            "x-ssl-client-verify",
            "x-ssl-client-s-dn",
            "x-amzn-mtls-clientcert",
            "x-amzn-mtls-clientcert-leaf",
            "x-arr-clientcert",
            "x-forwarded-tls-client-cert",
            "x-forwarded-tls-client-cert-info",
            "x-client-certificate",
            "client-certificate",
            "x-tls-client-cert",
            "x-apigw-client-cert",
            "x-client-cert-chain",
            "x-envoy-peer-metadata",
            "x-spiffe-id",
            "x_forwarded_client_cert",
            "forwarded",
            "x-forwarded-for",
            "x-real-ip",
            "via",
        ]
        .map(|name| (name, cert.clone())),
    );
    let issued = issue(&server.channel(&thief), &forged).await.unwrap();
    assert_eq!(bound_to(&issued), thief.thumbprint().to_string());
}

#[test]
fn the_section_names_exactly_one_way_and_all_that_it_needs() {
    let sound = |forwarded: &str| {
        let setup = Setup { forwarded: Some(forwarded.to_owned()), ..Setup::default() };
        setup.write();
        config::load(&setup.path("lanyard.yaml")).is_ok()
    };
    for section in [
        "{unix: /run/lanyard.sock, peer_uid: 0}",
        "{mtls: '0.0.0.0:8445', terminator: spiffe://prod.example/gateway}",
        "{tcp: '127.0.0.1:8446', insecure: true}",
        "{tcp: '[::1]:8446', insecure: true}",
    ] {
        assert!(sound(section), "{section}");
    }
    for section in [
        "{}",
        "{unix: /run/lanyard.sock}",
        "{peer_uid: 0}",
        "{mtls: '127.0.0.1:8445'}",
        "{mtls: '127.0.0.1:8445', terminator: spiffe://prod.example}",
        "{mtls: '127.0.0.1:8445', terminator: 'spiffe://prod.example/*'}",
        "{mtls: '127.0.0.1:8445', terminator: gateway}",
        "{mtls: '127.0.0.1:8445', terminator: spiffe://prod.example/gateway, insecure: true}",
        "{tcp: '127.0.0.1:8446'}",
        "{tcp: '127.0.0.1:8446', insecure: false}",
        "{tcp: '0.0.0.0:8446', insecure: true}",
        "{tcp: '10.0.0.1:8446', insecure: true}",
        "{unix: /run/lanyard.sock, peer_uid: 0, tcp: '127.0.0.1:8446', insecure: true}",
        "{unix: /run/lanyard.sock, peer_uid: 0, mode: 0777}",
    ] {
        assert!(!sound(section), "{section}");
    }
}
