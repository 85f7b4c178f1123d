//! Connections of terminators end when they must, and a socket's file goes only with the server that made it.

use std::fs;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::http::post;
use crate::support::server::TestServer;
use crate::support::terminator::KINDS;
use crate::support::terminator::Kind;
use crate::support::terminator::client_cert;
use crate::support::terminator::listen;
use crate::support::terminator::with_headers;

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
    let mut http = server.terminator(Kind::Mtls).http().await;
    http.send(request()).await.ok();
    server.advance(Duration::from_hours(1) + Duration::from_secs(1));
    let refused = http.send(request()).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn only_the_terminator_with_its_exact_spiffe_id_comes_through_the_handshake() {
    for client_auth in ["require", "request"] {
        let server = TestServer::started(|setup| {
            listen(setup, Kind::Mtls);
            setup.tls = format!("  client_auth: {client_auth}");
        })
        .await;
        let address = server.server.forwarded_address().unwrap();
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
        // The known proxy is accepted, and then receives 401, since it forwards no client.
        let known = knock(address, server.tls(&server.svid("/ingress"))).await;
        assert!(matches!(&known, Outcome::Answered(answer) if answer.starts_with("HTTP/1.1 401 ")), "{known:?}");
    }
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
        let mut stream = server.terminator(kind).connect_http1().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 200 "), "{kind:?}");
    }
    for kind in KINDS {
        let server = TestServer::behind(kind).await;
        let terminator = server.terminator(kind);
        let mut idle = terminator.connect_http1().await.unwrap();
        let head = b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n";
        idle.write_all(head).await.unwrap();
        // Its answer has come, and so it is known to have been taken up.
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 401");
        server.server.stop().await;
        read_to_end(&mut idle).await;
        assert!(terminator.connect().await.is_err(), "{kind:?}");
    }
}

#[tokio::test]
async fn what_was_put_in_the_place_of_the_socket_stays_when_the_server_stops() {
    let server = TestServer::behind(Kind::Unix).await;
    let path = server.setup.path("forwarded.sock");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "of value").unwrap();
    server.server.stop().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "of value");
}
