//! Certificates that a client publishes at its `jwks_uri`: they come and go there, and what is fetched is fetched with care.

use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenResponse;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tonic::Code;
use tonic::Status;

use crate::support::ca::self_signed;
use crate::support::calls::refused_field;
use crate::support::calls::self_signed_client;
use crate::support::leaf::Leaf;
use crate::support::publisher::Publisher;
use crate::support::publisher::jwks;
use crate::support::server::Setup;
use crate::support::server::TestServer;

/// A server that fetches from one publisher, which is on this machine.
pub async fn server(lines: &str) -> (TestServer, Publisher) {
    let (setup, publisher) = written(lines, |_| {}).await;
    (setup.start().await.unwrap(), publisher)
}

/// The written set-up of such a server, with this change.
pub async fn written(lines: &str, change: impl FnOnce(&mut Setup)) -> (Setup, Publisher) {
    let mut setup = Setup::default();
    change(&mut setup);
    let publisher = Publisher::start(&setup.ca).await;
    let section = format!(
        "{{allowed_hosts: ['{}'], ca: ca.pem, allow_private_addresses: true, poll: 9m{lines}}}",
        publisher.host()
    );
    let setup = Setup { jwks_uri: section, ..setup };
    setup.write();
    (setup, publisher)
}

/// The client `billing`, which publishes its certificates there.
pub fn publishing(uri: &str) -> Client {
    Client { certificate_pem: String::new(), jwks_uri: uri.to_owned(), ..self_signed_client("billing", "") }
}

/// A token on a connection of its own.
pub async fn token(server: &TestServer, leaf: &Leaf) -> Result<IssueTokenResponse, Status> {
    server.issue_as(leaf, "billing").await
}

/// Polls a moment after the last time.
pub async fn poll(server: &TestServer) {
    server.advance(Duration::from_secs(1));
    server.server.poll_jwks_uris().await;
}

#[tokio::test]
async fn published_certificates_get_tokens_without_a_new_registration_until_removed() {
    let (server, publisher) = server("").await;
    let [first, second] = ["first", "second"].map(|name| self_signed(name).issue());
    let registered = server.register(publishing(&publisher.uri())).await.unwrap();
    assert_eq!((registered.jwks_uri, registered.jwks), (publisher.uri(), String::new()));
    assert!(token(&server, &first).await.is_err());

    publisher.publish(&[&first]);
    poll(&server).await;
    assert!(token(&server, &first).await.is_ok());
    assert!(token(&server, &second).await.is_err());

    publisher.publish(&[&first, &second]);
    poll(&server).await;
    assert!(token(&server, &first).await.is_ok());
    assert!(token(&server, &second).await.is_ok());

    let mut open = KeyServiceClient::new(server.channel(&first));
    assert!(open.get_jwks(GetJwksRequest {}).await.is_ok());
    publisher.publish(&[&second]);
    poll(&server).await;
    assert!(token(&server, &first).await.is_err());
    assert_eq!(open.get_jwks(GetJwksRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    assert!(token(&server, &second).await.is_ok());

    publisher.publish(&[]);
    poll(&server).await;
    assert!(token(&server, &second).await.is_err());
}

#[tokio::test]
async fn a_published_certificate_counts_for_its_own_client_while_registered_with_that_url() {
    let (server, publisher) = server("").await;
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    server
        .register(Client { client_id: "other".to_owned(), ..publishing(&(publisher.uri() + "?other")) })
        .await
        .unwrap();
    let own = self_signed("own").issue();
    server
        .register(Client { client_id: "inline".to_owned(), ..self_signed_client("inline", &own.pem()) })
        .await
        .unwrap();
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
    let refused = server.issue_as(&leaf, "inline").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    server.delete("other").await;
    let moved = Client {
        etag: server.server.authority().client("billing").unwrap().revision.0.to_string(),
        ..publishing(&(publisher.uri() + "?moved"))
    };
    server.update(moved).await.unwrap();
    assert!(token(&server, &leaf).await.is_err(), "it was published elsewhere");
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
    server.delete("billing").await;
    server.register(publishing(&(publisher.uri() + "?moved"))).await.unwrap();
    assert!(token(&server, &leaf).await.is_err(), "it was another client's");
}

#[tokio::test]
async fn the_last_good_document_counts_for_its_time_and_no_longer() {
    let (server, publisher) = server(", keep: 10m").await;
    // Valid beyond the time that the document is kept.
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    poll(&server).await;
    for broken in [&b"<html>"[..], b"", b"[]", b"{\"keys\":{}}", b"null", b"{\"keys\":[]} more"] {
        publisher.answer(200, "", broken);
        poll(&server).await;
        assert!(token(&server, &leaf).await.is_ok(), "{}", broken.escape_ascii());
    }
    for status in [204, 304, 400, 404, 500, 503] {
        publisher.answer(status, "", b"");
        poll(&server).await;
        assert!(token(&server, &leaf).await.is_ok(), "{status}");
    }
    // Twelve seconds of it are gone.
    server.advance(Duration::from_secs(600 - 12 - 1));
    let mut open = KeyServiceClient::new(server.channel(&leaf));
    assert!(open.get_jwks(GetJwksRequest {}).await.is_ok());
    assert!(token(&server, &leaf).await.is_ok());
    server.advance(Duration::from_secs(1));
    assert!(token(&server, &leaf).await.is_err());
    assert_eq!(open.get_jwks(GetJwksRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    publisher.publish(&[&leaf]);
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
}

#[tokio::test]
async fn a_key_of_no_use_is_skipped_and_the_others_count() {
    let (server, publisher) = server("").await;
    let [leaf, private, wrong] = ["billing", "private", "wrong"].map(|name| self_signed(name).issue());
    server.register(publishing(&publisher.uri())).await.unwrap();
    let parse = |leaf: &Leaf| serde_json::from_slice::<serde_json::Value>(&jwks(&[leaf])).unwrap()["keys"][0].clone();
    let (mut with_private, mut of_another) = (parse(&private), parse(&wrong));
    with_private["d"] = "AQAB".into();
    of_another["x"] = parse(&leaf)["x"].clone();
    let svid = parse(&server.svid("/checkout"));
    let keys =
        serde_json::json!([7, {"kty": "oct"}, {"kty": "EC", "x5c": 7}, svid, with_private, of_another, parse(&leaf)]);
    publisher.answer(200, "", serde_json::json!({ "keys": keys }).to_string().as_bytes());
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
    assert!(token(&server, &private).await.is_err());
    assert!(token(&server, &wrong).await.is_err());
    assert!(server.issue_as(&server.svid("/checkout"), "billing").await.is_err());

    let many: Vec<serde_json::Value> = std::iter::repeat_n(parse(&leaf), 17).collect();
    publisher.answer(200, "", serde_json::json!({ "keys": many }).to_string().as_bytes());
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok(), "the last good one is kept");
}

#[tokio::test]
async fn one_way_of_naming_certificates_is_registered_and_no_two() {
    let (server, publisher) = server("").await;
    let leaf = self_signed("billing").issue();
    let inline = String::from_utf8(jwks(&[&leaf])).unwrap();
    let uri = publishing(&publisher.uri());
    for both in [
        Client { jwks: inline, ..uri.clone() },
        Client { certificate_pem: leaf.pem(), ..uri.clone() },
        Client {
            token_endpoint_auth_method: "tls_client_auth".to_owned(),
            tls_client_auth_san_dns: "a.example".to_owned(),
            ..uri.clone()
        },
        Client {
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            spiffe_id: "spiffe://prod.example/a".to_owned(),
            ..uri.clone()
        },
    ] {
        assert_eq!(refused_field(server.register(both).await), "jwks_uri");
    }
    let registered = server.register(uri).await.unwrap();
    let wanted = Client {
        client_id: "billing".to_owned(),
        jwks_uri: publisher.uri() + "?2",
        etag: registered.etag,
        ..Client::default()
    };
    let request = UpdateClientRequest {
        client: Some(wanted),
        update_mask: Some(prost_types::FieldMask { paths: vec!["jwks_uri".to_owned()] }),
        ..Default::default()
    };
    let updated = server.registry(&server.svid("/admin")).update_client(request).await.unwrap().into_inner();
    assert_eq!(updated.jwks_uri, publisher.uri() + "?2");
}

#[tokio::test]
async fn a_url_that_is_not_https_at_a_listed_host_is_not_registered() {
    let (server, publisher) = server("").await;
    let port = publisher.address.port();
    for bad in [
        format!("http://localhost:{port}/jwks.json"),
        format!("https://localhost:{}/jwks.json", port ^ 1),
        "https://localhost/jwks.json".to_owned(),
        format!("https://localhost.:{port}/"),
        format!("https://user@localhost:{port}/"),
        format!("https://user:secret@localhost:{port}/"),
        format!("https://localhost:{port}/#fragment"),
        format!("https://localhost:{port}@keys.example/"),
        format!("https://keys.example/?localhost:{port}"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://localhost:{port}.keys.example/"),
        format!("https://x.localhost:{port}/"),
        format!("file://localhost:{port}/etc/passwd"),
        format!("//localhost:{port}/"),
        "https://".to_owned(),
        "jwks.json".to_owned(),
        format!("https://localhost:{port}/{}", "a".repeat(2048)),
    ] {
        assert_eq!(refused_field(server.register(publishing(&bad)).await), "jwks_uri", "{bad}");
    }
    assert!(server.register(publishing(&format!("https://LOCALHOST:{port}/"))).await.is_ok());
    assert_eq!(publisher.connections(), 0);
}

#[tokio::test]
async fn no_url_is_registered_where_no_host_is_listed() {
    let server = TestServer::start().await;
    assert_eq!(refused_field(server.register(publishing("https://keys.example/")).await), "jwks_uri");
}

#[tokio::test]
async fn nothing_but_the_url_is_sent() {
    let (server, publisher) = server("").await;
    server.register(publishing(&(publisher.uri() + "?a=b"))).await.unwrap();
    poll(&server).await;
    let request = format!(
        "GET /jwks.json?a=b HTTP/1.1\r\nhost: {}\r\naccept: application/jwk-set+json, application/json\r\n\r\n",
        publisher.host()
    );
    assert_eq!(publisher.requests(), [request]);
}

#[tokio::test]
async fn a_publisher_that_hangs_delays_nobody_else() {
    let (server, publisher) = server(", timeout: 1s").await;
    publisher.answer_and_fall_silent(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{");
    server.register(publishing(&publisher.uri())).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let asking = async {
        publisher.asked().await;
        server.token(&checkout).await
    };
    let (token, ()) = tokio::join!(asking, poll(&server));
    assert!(!token.is_empty());
}

#[test]
fn a_section_that_cannot_stand_is_refused_by_its_key() {
    let problem = |section: &str| {
        let setup = Setup { jwks_uri: section.to_owned(), ..Setup::default() };
        setup.write();
        lanyard::config::load(&setup.path("lanyard.yaml")).err().map(|error| error.to_string())
    };
    for (section, key) in [
        ("{allowed_hosts: ['https://keys.example']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['keys.example/jwks']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['keys.example/']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['*.keys.example']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['user@keys.example']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['keys.example:0']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['127.1']}", "jwks_uri.allowed_hosts"),
        ("{allowed_hosts: ['']}", "jwks_uri.allowed_hosts"),
        ("{keep: 1m}", "jwks_uri.keep"),
        ("{poll: 0s}", "jwks_uri"),
        ("{discovery: on_demand}", "jwks_uri.discovery"),
        ("{discovery: always}", "discovery"),
        ("{follow: true}", "follow"),
    ] {
        let problem = problem(section).unwrap_or_else(|| panic!("{section} is taken"));
        assert!(problem.contains(key), "{section}: {problem}");
    }
    for section in [
        "{}",
        "{allowed_hosts: [keys.example, 'keys.example:8443', KEYS.example, 192.0.2.1, '[2001:db8::1]:8443'], discovery: off}",
        "{allowed_hosts: [keys.example], discovery: on_demand, poll: 10s, timeout: 1s, keep: 11s, allow_private_addresses: true}",
    ] {
        assert_eq!(problem(section), None);
    }
}
