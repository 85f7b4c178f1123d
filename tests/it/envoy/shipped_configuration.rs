//! Through a real Envoy, on the configuration that is shipped.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::reason;
use crate::support::mesh::seen;
use crate::support::mesh::with_header;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

fn challenge(reply: &crate::support::http::Reply) -> String {
    reply.headers.get("www-authenticate").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_rightful_use_goes_through_and_no_forged_header_does() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    for http2 in [true, false] {
        let mut connection = mesh.open(&mesh.checkout, http2).await;
        let mut request = get("/orders/1?x=y", &mesh.token);
        for (name, value) in [
            ("x-lanyard-subject", "spiffe://prod.example/admin"),
            ("x-lanyard-subject", "spiffe://prod.example/root"),
            ("x-lanyard-client-id", "admin"),
            ("x-lanyard-role", "admin"),
            ("x_lanyard_subject", "admin"),
            ("x-forwarded-client-cert", "By=spiffe://prod.example/proxy;URI=spiffe://prod.example/admin"),
        ] {
            request = with_header(request, name, value);
        }
        let reply = connection.send(request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(seen(&reply, "x-lanyard-subject"), [CHECKOUT]);
        assert_eq!(seen(&reply, "x-lanyard-client-id"), [CHECKOUT]);
        assert_eq!(seen(&reply, "x-lanyard-scope"), ["orders.read orders.write"]);
        assert_eq!(seen(&reply, "x-lanyard-binding"), ["exact"]);
        for gone in ["x-lanyard-role", "x_lanyard_subject"] {
            assert_eq!(seen(&reply, gone), Vec::<String>::new(), "{gone}");
        }
        let forwarded = seen(&reply, "x-forwarded-client-cert").join(",");
        assert!(forwarded.starts_with("By=spiffe://prod.example/proxy;Hash="), "{forwarded}");
        assert!(forwarded.ends_with(&format!("URI={CHECKOUT}")) && !forwarded.contains("admin"), "{forwarded}");
        // The same connection serves a second request, checked by itself.
        let reply = connection.send(Request::get("/orders/1").body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reason(&reply)), (401, "TOKEN_MISSING".to_owned()));
    }
    assert_eq!(mesh.upstream.reached(), 2);
}

#[tokio::test]
async fn what_lanyard_denies_does_not_pass_and_says_why() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    let realm = "Bearer realm=\"https://orders.prod.example\"";
    let stolen = mesh.send(&mesh.thief, get("/orders/1", &mesh.token)).await;
    assert_eq!((stolen.status, reason(&stolen)), (401, "CERTIFICATE_MISMATCH".to_owned()));
    assert!(challenge(&stolen).starts_with(&format!("{realm}, error=\"invalid_token\"")), "{stolen:?}");
    assert_eq!(stolen.headers["content-type"], "application/json");
    let none = mesh.send(&mesh.checkout, Request::get("/orders/1").body(Body::empty()).unwrap()).await;
    assert_eq!((none.status, challenge(&none)), (401, realm.to_owned()));
    let scope = mesh.send(&mesh.checkout, get("/admin/x", &mesh.token)).await;
    assert_eq!((scope.status, reason(&scope)), (403, "INSUFFICIENT_SCOPE".to_owned()));
    assert!(challenge(&scope).ends_with("scope=\"orders.admin\""), "{scope:?}");
    let elsewhere =
        Client { audience: vec!["https://b.example".to_owned()], ..spiffe_client("spiffe://prod.example/elsewhere") };
    mesh.server.register(elsewhere).await.unwrap();
    let elsewhere = mesh.server.svid("/elsewhere");
    let foreign = mesh.server.token(&elsewhere).await;
    let foreign = mesh.send(&elsewhere, get("/orders/1", &foreign)).await;
    assert_eq!((foreign.status, reason(&foreign)), (401, "WRONG_AUDIENCE".to_owned()));
    let unrouted = mesh.send(&mesh.checkout, get("/nowhere", &mesh.token)).await;
    assert_eq!((unrouted.status, reason(&unrouted)), (403, "ROUTE_UNKNOWN".to_owned()));
    assert_eq!(mesh.upstream.reached(), 0);

    // Revoked: on the very next request, on the same connection.
    let mut connection = mesh.open(&mesh.checkout, true).await;
    assert_eq!(connection.send(get("/orders/1", &mesh.token)).await.status, 200);
    let target = Some(Target::Token(mesh.token.clone()));
    let revoke = RevokeTokenRequest { target, ..RevokeTokenRequest::default() };
    mesh.server.tokens(&mesh.server.svid("/admin")).revoke_token(revoke).await.unwrap();
    let revoked = connection.send(get("/orders/1", &mesh.token)).await;
    assert_eq!((revoked.status, reason(&revoked)), (401, "TOKEN_REVOKED".to_owned()));
    // Expired, likewise.
    let issued = mesh.server.tokens(&mesh.checkout).issue_token(IssueTokenRequest::default()).await;
    let token = issued.unwrap().into_inner().access_token;
    assert_eq!(connection.send(get("/orders/1", &token)).await.status, 200);
    mesh.server.advance(Duration::from_mins(5));
    mesh.server.is_fresh_again().await;
    let expired = connection.send(get("/orders/1", &token)).await;
    assert_eq!((expired.status, reason(&expired)), (401, "TOKEN_EXPIRED".to_owned()));
    assert_eq!(mesh.upstream.reached(), 2);
}

#[tokio::test]
async fn without_lanyard_nothing_passes() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    assert_eq!(mesh.legitimate().await.status, 200);
    let Mesh { server, upstream, envoy, checkout, token, .. } = mesh;
    let mut config = server.tls(&checkout);
    config.alpn_protocols = vec![b"h2".to_vec()];
    server.server.stop().await;
    for path in ["/orders/1", "/healthz"] {
        let stream = connect(envoy.address, config.clone()).await.unwrap();
        let reply = crate::support::http::Http::two(stream).await.send(get(path, &token)).await;
        assert_eq!(reply.status, 503, "{path}: {reply:?}");
    }
    assert_eq!(upstream.reached(), 1);
}

#[tokio::test]
async fn in_report_mode_a_denial_passes_asserts_nothing_and_is_counted() {
    let mesh = Mesh::start(Vec::new(), |resource| {
        resource.mode = "report".to_owned();
        resource.report_header = true;
    });
    let Some(mesh) = mesh.await else { return };
    let request = with_header(get("/orders/1", &mesh.token), "x-lanyard-subject", "admin");
    let stolen = mesh.send(&mesh.thief, request).await;
    assert_eq!(stolen.status, 200, "{stolen:?}");
    assert_eq!(stolen.headers["x-lanyard-report"], "CERTIFICATE_MISMATCH");
    assert_eq!(seen(&stolen, "x-lanyard-subject"), Vec::<String>::new());
    let rightful = mesh.legitimate().await;
    assert_eq!((rightful.status, rightful.headers.get("x-lanyard-report")), (200, None));
    assert_eq!(seen(&rightful, "x-lanyard-subject"), [CHECKOUT]);
    let ops = tokio::net::TcpStream::connect(mesh.server.addresses.ops).await.unwrap();
    let counts = crate::support::wire::http1(ops, "GET /metrics").await.body;
    let count =
        "lanyard_report_mode_denials_total{resource=\"https://orders.prod.example\",reason=\"CERTIFICATE_MISMATCH\"} 1";
    assert!(counts.lines().any(|line| line == count), "{counts}");
}

#[tokio::test]
async fn an_upgrade_is_checked_like_any_other_request() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    let upgrade = async |token: Option<&str>| {
        let mut config = mesh.server.tls(&mesh.checkout);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut stream = connect(mesh.envoy.address, config).await.unwrap();
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), stream)
    };
    let (head, _) = upgrade(None).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(mesh.upstream.reached(), 0);
    let (head, mut stream) = upgrade(Some(&mesh.token)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test]
async fn without_a_certificate_of_a_known_trust_domain_nobody_is_even_checked() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    let stranger = mesh.server.setup.other_ca.svid("spiffe://prod.example/checkout").issue();
    let stream = connect(mesh.envoy.address, mesh.server.tls(&stranger)).await;
    // In TLS 1.3 the refusal comes after the client's side of the handshake is done.
    if let Ok(mut stream) = stream {
        let mut nothing = [0; 1];
        assert!(!matches!(stream.read(&mut nothing).await, Ok(1..)));
    }
    assert_eq!(mesh.upstream.reached(), 0);
}
