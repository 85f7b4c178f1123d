//! `/metrics` on the ops listener: each count moves by what was done, and nothing that a caller sent is on the page.

use std::net::SocketAddr;

use lanyard::proto::DenyReason;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use tokio::net::TcpStream;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::door::knock;
use crate::support::page::Page;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::wire::Answer;
use crate::support::wire::http1;

async fn get(address: SocketAddr, path: &str) -> Answer {
    http1(TcpStream::connect(address).await.unwrap(), &format!("GET {path}")).await
}

/// The counts of what is decided, by name and labels: what `metrics`, `metrics_server` and `pressure` look at is left
/// out.
async fn series(server: &TestServer) -> Page {
    let elsewhere = [
        "lanyard_request_",
        "lanyard_store_",
        "lanyard_connections",
        "lanyard_handshakes{",
        "lanyard_path_signatures",
        "lanyard_registrations",
        "lanyard_limit_used",
        "lanyard_limit_callers",
    ];
    let Page(mut series) = server.page().await;
    series.retain(|name, _| !elsewhere.iter().any(|prefix| name.starts_with(prefix)));
    Page(series)
}

#[tokio::test]
async fn each_count_moves_by_exactly_what_was_done() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (proxy, thief) = (server.svid("/proxy"), server.svid("/thief"));
    let before = series(&server).await;
    let counted = before.0.iter().filter(|(name, count)| name.contains("_total") && **count > 0.0);
    assert_eq!(counted.count(), 0, "{before:?}");

    let token = server.token(&checkout).await;
    let seen = |leaf| ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(&token) };
    for _ in 0..3 {
        server.ask(&proxy, seen(&checkout)).await.unwrap();
    }
    server.ask(&proxy, seen(&thief)).await.unwrap();
    server.ask(&proxy, seen(&thief)).await.unwrap();
    // No decision, so it counts as none.
    refusal(server.ask(&proxy, use_of("")).await);
    // A stream is the same protocol, and each of its messages is a call.
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    assert_eq!(stream.ask(&seen(&checkout)).await.unwrap(), StreamOutcome::Allowed);
    assert_eq!(stream.ask(&use_of(&token)).await.unwrap(), StreamOutcome::Denied(DenyReason::EvidenceMissing));
    // Introspection by one who may know, and by one who may not.
    for (leaf, token) in [(&proxy, token.as_str()), (&proxy, "x.y.z"), (&thief, token.as_str())] {
        let request =
            IntrospectTokenRequest { token: token.to_owned(), client_id: String::new(), ..Default::default() };
        drop(server.tokens(leaf).introspect_token(request).await);
    }
    // Token requests, calls and handshakes that are refused.
    refusal(server.issue(&thief, IssueTokenRequest::default()).await);
    let request = IssueTokenRequest { scope: "orders.admin".to_owned(), ..IssueTokenRequest::default() };
    refusal(server.issue(&checkout, request).await);
    let form = [("grant_type", "password"), ("client_id", "spiffe://prod.example/checkout")];
    assert_eq!(server.post(&checkout, "/oauth2/token", &form).await.status, 400);
    refusal(server.registry(&checkout).list_clients(ListClientsRequest::default()).await);
    let unknown = self_signed("nobody").issue();
    assert!(!knock(server.addresses.mtls, server.tls(&unknown)).await.is_jwks());
    let expired = server.setup.ca.svid("spiffe://prod.example/checkout").expired().issue();
    assert!(!knock(server.addresses.mtls, server.tls(&expired)).await.is_jwks());

    let evaluated = |labels: &str| format!("lanyard_decisions_total{{question=\"validate_binding\",{labels}}}");
    let introspected = evaluated("").replace("validate_binding", "introspect").replace('}', "");
    let mut expected = [
        (format!("{introspected}decision=\"allow\",reason=\"\"}}"), 1.0),
        (format!("{introspected}decision=\"deny\",reason=\"TOKEN_MALFORMED\"}}"), 1.0),
        (evaluated("decision=\"allow\",reason=\"\""), 4.0),
        (evaluated("decision=\"deny\",reason=\"CERTIFICATE_MISMATCH\""), 2.0),
        (evaluated("decision=\"deny\",reason=\"EVIDENCE_MISSING\""), 1.0),
        ("lanyard_tokens_issued_total".to_owned(), 1.0),
        ("lanyard_grants_refused_total{error=\"invalid_client\"}".to_owned(), 1.0),
        ("lanyard_grants_refused_total{error=\"invalid_scope\"}".to_owned(), 1.0),
        ("lanyard_grants_refused_total{error=\"unsupported_grant_type\"}".to_owned(), 1.0),
        ("lanyard_calls_refused_total{reason=\"WRONG_ROLE\"}".to_owned(), 1.0),
        ("lanyard_handshakes_refused_total{reason=\"UNKNOWN\"}".to_owned(), 1.0),
        ("lanyard_handshakes_refused_total{reason=\"EXPIRED\"}".to_owned(), 1.0),
        // Eight asked with the token, of which the first was not known yet; one with another.
        ("lanyard_cache_hits_total{cache=\"tokens\"}".to_owned(), 7.0),
        ("lanyard_cache_misses_total{cache=\"tokens\"}".to_owned(), 2.0),
        ("lanyard_downgrades_refused_total{reason=\"CERTIFICATE_MISMATCH\"}".to_owned(), 2.0),
        ("lanyard_downgrades_refused_total{reason=\"EVIDENCE_MISSING\"}".to_owned(), 1.0),
    ];
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let after = series(&server).await;
    assert_eq!(after.grown_since(&before), expected);
    assert_eq!(after.names(), before.names());
}

#[tokio::test]
async fn the_page_has_one_series_for_each_reason_and_none_that_a_caller_makes() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let before = series(&server).await;
    let reasons = (1..).map_while(|number| DenyReason::try_from(number).ok());
    let mut reasons: Vec<_> = reasons.map(|reason| reason.as_str_name().replace("DENY_REASON_", "")).collect();
    assert!(reasons.len() > 20);
    reasons.push("OTHER".to_owned());
    for question in ["validate_binding", "introspect", "check"] {
        for reason in &reasons {
            let name =
                format!("lanyard_decisions_total{{question=\"{question}\",decision=\"deny\",reason=\"{reason}\"}}");
            assert!(before.get(&name).is_some(), "{name}");
        }
    }
    let version = format!("lanyard_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(before.get(&version), Some(1));

    let odd = "odd\"} 1\nlanyard_odd{x=\"";
    let proxy = server.svid("/proxy");
    for question in [
        ValidateBindingRequest { audience: odd.to_owned(), evidence: certificate_of(&checkout), ..use_of(&token) },
        ValidateBindingRequest { scope: odd.to_owned(), ..use_of(&token) },
        use_of(odd),
    ] {
        drop(server.ask(&proxy, question).await);
    }
    drop(server.issue_as(&checkout, odd).await);
    let page = get(server.addresses.ops, "/metrics").await.body;
    assert_eq!(series(&server).await.names(), before.names());
    for secret in ["odd", "prod.example", "checkout", &token[..20], token.rsplit('.').next().unwrap()] {
        assert!(!page.contains(secret), "{secret:?} is on the page");
    }
}

#[tokio::test]
async fn the_page_is_on_the_ops_listener_alone() {
    let server = TestServer::start().await;
    let ops = server.addresses.ops;
    let answer = get(ops, "/metrics").await;
    assert_eq!(answer.status, 200);
    let post = http1(TcpStream::connect(ops).await.unwrap(), "POST /metrics").await;
    assert_eq!(post.status, 405);
    for path in ["/", "/metrics/", "/metrics/x", "/Metrics", "//metrics", "/oauth2/jwks"] {
        assert_eq!(get(ops, path).await.status, 404, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(ops, path).await.status, 200, "{path}");
    }
}
