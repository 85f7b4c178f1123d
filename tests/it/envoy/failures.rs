//! What passes when something fails: with `failure_mode_allow: true` what the operator chose, and nothing that a client can
//! bring about.

use axum::body::Body;
use axum::http::Request;
use tokio::net::TcpListener;

use crate::support::envoy::Envoy;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::proxy;
use crate::support::mesh::reason;
use crate::support::mesh::with_header;
use crate::support::server::connect;

/// Lets pass what cannot be checked, and leaves paths and names as the client wrote them.
fn lax() -> Vec<(&'static str, String)> {
    let passes = |before: &'static str, after: &str| (before, after.to_owned());
    vec![
        passes("failure_mode_allow: false", "failure_mode_allow: true"),
        passes("normalize_path: true", "normalize_path: false"),
        passes("merge_slashes: true", "merge_slashes: false"),
        passes("path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED"),
    ]
}

/// Requests without a token that opens anything, in every form that could trip something on its way.
fn provocations(token: &str) -> Vec<(&'static str, Request<Body>)> {
    let plain = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let raw = |name: &'static str, value: &[u8]| {
        let mut request = plain("/orders/1");
        request.headers_mut().append(name, axum::http::HeaderValue::from_bytes(value).unwrap());
        request
    };
    let huge = "a".repeat(40_000);
    let both = with_header(get("/orders/1", token), "authorization", "Bearer x");
    let mut many = get("/orders/1", "x");
    for _ in 0..90 {
        many = with_header(many, "x-lanyard-more", "x");
    }
    vec![
        ("no token", plain("/orders/1")),
        ("two tokens", both),
        ("a joined token", with_header(plain("/orders/1"), "authorization", &format!("Bearer {token},Bearer {token}"))),
        ("bad UTF-8 in the token", raw("authorization", b"Bearer \xff\xfe")),
        ("bad UTF-8 elsewhere", raw("x-anything", b"\xc0\xaf\xff")),
        ("bad UTF-8 in a forwarded certificate", raw("x-forwarded-client-cert", b"Hash=\xff")),
        ("a huge token", get("/orders/1", &huge)),
        ("a huge header", with_header(plain("/orders/1"), "x-anything", &huge)),
        ("many headers of ours", many),
        ("a huge path", plain(&format!("/orders/{}", "a".repeat(30_000)))),
        ("dots", plain("/orders/../healthz")),
        ("escaped dots", plain("/%2e%2e/healthz")),
        ("escaped slashes", plain("/orders%2f..%2fhealthz")),
        ("two slashes", plain("//healthz")),
        ("an escaped NUL", plain("/healthz%00")),
        ("a semicolon", plain("/healthz;x")),
        ("a twice escaped slash", plain("/healthz%252f")),
        ("an unknown route", plain("/nowhere")),
        ("a strange method", Request::builder().method("BREW").uri("/orders/1").body(Body::empty()).unwrap()),
        ("a token in the query", plain(&format!("/orders/1?access_token={token}"))),
        ("a body", Request::post("/orders").body(Body::from("x".repeat(300_000))).unwrap()),
    ]
}

#[tokio::test]
async fn nothing_that_a_client_can_bring_about_passes_though_failures_may() {
    let Some(mesh) = Mesh::start(lax(), |_| {}).await else { return };
    for http2 in [true, false] {
        for (name, request) in provocations(&mesh.token) {
            let reply = mesh.open(&mesh.checkout, http2).await.send(request).await;
            assert!((400..500).contains(&reply.status), "{name}: {reply:?}");
        }
    }
    assert_eq!(mesh.upstream.reached(), 0);
    assert_eq!(mesh.legitimate().await.status, 200);
}

/// With the whole request in the check, as an operator may configure it, a client decides how large the check is.
#[tokio::test]
async fn a_check_that_is_too_large_is_a_denial() {
    let mut changes = lax();
    let all = "transport_api_version: V3\n              with_request_body: {max_request_bytes: 4194304, allow_partial_message: true}";
    changes.push(("transport_api_version: V3", all.to_owned()));
    let Some(mesh) = Mesh::start(changes, |_| {}).await else { return };
    let body = |bytes: usize| {
        let request = Request::post("/orders").body(Body::from("x".repeat(bytes))).unwrap();
        with_header(request, "authorization", &format!("Bearer {}", mesh.token))
    };
    assert_eq!(mesh.send(&mesh.checkout, body(100_000)).await.status, 200);
    let reply = mesh.send(&mesh.checkout, body(2_000_000)).await;
    assert_eq!((reply.status, reason(&reply)), (400, "REQUEST_MALFORMED".to_owned()), "{reply:?}");
    assert_eq!(mesh.upstream.reached(), 1);
}

/// Overload is no failure of which Envoy decides: each check that is not made is denied by an answer.
#[tokio::test]
async fn under_overload_the_client_gets_our_503_and_nothing_passes_though_failures_may() {
    let Some(mesh) = Mesh::start(lax(), |_| {}).await else { return };
    assert_eq!(mesh.legitimate().await.status, 200);
    mesh.server.setup.lateness.set(std::time::Duration::from_hours(24));
    let mut replies = Vec::new();
    for _ in 0..50 {
        // Of what would be denied, so that a tenth that is answered in any case does not pass either.
        replies.push(mesh.send(&mesh.thief, get("/orders/1", &mesh.token)).await);
    }
    assert!(replies.iter().all(|reply| [401, 503].contains(&reply.status)), "{replies:?}");
    let refused = replies.iter().find(|reply| reply.status == 503).expect("most are refused");
    assert_eq!((reason(refused), refused.header("retry-after")), ("OVERLOADED".to_owned(), "1"));
    assert_eq!(mesh.upstream.reached(), 1);
    mesh.server.setup.lateness.set(std::time::Duration::ZERO);
    assert_eq!(mesh.legitimate().await.status, 200);
}

/// An Envoy before something that is not Lanyard.
async fn before(mesh: &Mesh, other: std::net::SocketAddr, allow: bool) -> Option<Envoy> {
    let setup = EnvoySetup {
        local: None,
        svid: &proxy(&mesh.server, "/proxy"),
        bundle: &mesh.server.setup.ca.pem(),
        lanyard: other,
        upstream: mesh.upstream.address,
        changes: vec![
            ("failure_mode_allow: false", format!("failure_mode_allow: {allow}")),
            ("timeout: 20s", "timeout: 0.1s".to_owned()),
        ],
    };
    setup.start().await
}

#[tokio::test]
async fn what_the_operator_chose_decides_where_lanyard_knows_too_little_to_decide() {
    for (change, status) in [(Vec::new(), 503), (lax(), 200)] {
        let Some(mesh) = Mesh::start(change, |_| {}).await else { return };
        mesh.server.server.authority().mark_disconnected();
        mesh.server.advance(std::time::Duration::from_secs(30));
        assert_eq!(mesh.legitimate().await.status, 200);
        assert_eq!(mesh.send(&mesh.thief, get("/orders/1", &mesh.token)).await.status, 401);
        mesh.server.advance(std::time::Duration::from_secs(1));
        for leaf in [&mesh.checkout, &mesh.thief] {
            assert_eq!(mesh.send(leaf, get("/orders/1", &mesh.token)).await.status, status);
        }
        mesh.server.server.authority().mark_synced();
        assert_eq!(mesh.send(&mesh.thief, get("/orders/1", &mesh.token)).await.status, 401);
    }
}

#[tokio::test]
async fn what_the_operator_chose_decides_where_lanyard_is_gone_or_too_slow() {
    let Some(mesh) = Mesh::start(Vec::new(), |_| {}).await else { return };
    // It accepts, and never says a word: the deadline passes.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let slow = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    for (name, address) in [("gone", gone), ("slow", slow)] {
        for (allow, status) in [(false, 503), (true, 200)] {
            let Some(envoy) = before(&mesh, address, allow).await else { return };
            let stream = connect(envoy.address, mesh.server.tls(&mesh.thief)).await.unwrap();
            let mut request = get("/orders/1", "x");
            for forged in ["x-lanyard-subject", "x_lanyard_client_id", "x-lanyard_scope"] {
                request = with_header(request, forged, "admin");
            }
            let reply = Http::two(stream).await.send(request).await;
            assert_eq!(reply.status, status, "{name}, failure_mode_allow: {allow}");
            // Who passes unchecked has no name.
            assert!(!reply.body.contains("lanyard"), "{name}: {reply:?}");
        }
    }
    assert_eq!(mesh.upstream.reached(), 2);
}
