//! What a registration of a pattern would be about: the registrations that it meets, and the identities that it matches.

use std::sync::Arc;
use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::Overlap;
use lanyard::proto::PreviewPatternRequest;
use lanyard::proto::PreviewPatternResponse;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use tonic::Code;
use tonic::Status;

use crate::grants::support::SHOP_ADMIN;
use crate::grants::support::create;
use crate::grants::support::shop_client;
use crate::grants::support::with_grants;
use crate::support::calls::refusal;
use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const SHOP: &str = "spiffe://prod.example/ns/shop/*";

async fn preview(server: &TestServer, leaf: &Leaf, pattern: &str) -> Result<PreviewPatternResponse, Status> {
    let request = PreviewPatternRequest { spiffe_id: pattern.to_owned() };
    server.registry(leaf).preview_pattern(request).await.map(tonic::Response::into_inner)
}

/// The registrations that the pattern meets.
fn met(answer: &PreviewPatternResponse) -> Vec<(&str, Overlap, bool)> {
    let met = answer.registrations.iter();
    met.map(|one| (one.client_id.as_str(), one.overlap(), one.refuses)).collect()
}

/// The identities that it matches, each with the registration that applies now, and whether the pattern would.
fn matched(answer: &PreviewPatternResponse) -> Vec<(&str, &str, bool)> {
    let all = answer.identities.iter();
    let mut matched: Vec<_> =
        all.map(|one| (one.spiffe_id.as_str(), one.client_id.as_str(), one.would_apply)).collect();
    matched.sort_unstable();
    matched
}

fn named(client_id: &str, spiffe_id: &str) -> Client {
    Client { client_id: client_id.to_owned(), spiffe_id: spiffe_id.to_owned(), ..spiffe_client("") }
}

/// The caller must have made a connection, whatever it was answered.
async fn connects(server: &TestServer, path: &str) {
    drop(server.issue_as(&server.svid(path), "").await);
}

#[tokio::test]
async fn a_pattern_meets_what_lies_within_it_and_what_it_lies_within_and_takes_what_no_narrower_one_has() {
    let server = TestServer::start().await;
    let admin = server.svid("/admin");
    for client in [
        named("everything", "spiffe://prod.example/*"),
        named("pay", "spiffe://prod.example/ns/shop/sa/pay"),
        named("batch", "spiffe://prod.example/ns/shop/batch/*"),
        named("shopping", "spiffe://prod.example/ns/shopping/*"),
    ] {
        server.register(client).await.unwrap();
    }
    for path in ["/ns/shop/sa/pay", "/ns/shop/sa/cart", "/ns/shop/batch/nightly", "/ns/shopping/sa/list"] {
        connects(&server, path).await;
    }
    let answer = preview(&server, &admin, SHOP).await.unwrap();
    let expected =
        [("everything", Overlap::Wider, false), ("batch", Overlap::Narrower, false), ("pay", Overlap::Narrower, false)];
    assert_eq!(met(&answer), expected);
    assert_eq!(answer.registrations[0].expects, "spiffe_x509 of spiffe://prod.example/*");
    let expected = [
        ("spiffe://prod.example/ns/shop/batch/nightly", "batch", false),
        ("spiffe://prod.example/ns/shop/sa/cart", "everything", true),
        ("spiffe://prod.example/ns/shop/sa/pay", "pay", false),
    ];
    assert_eq!(matched(&answer), expected);
    assert_eq!((answer.more_registrations, answer.more_identities), (0, 0));

    // And so it is, once it is registered.
    server.register(named("shop", SHOP)).await.unwrap();
    let answer = preview(&server, &admin, SHOP).await.unwrap();
    assert_eq!(met(&answer)[1], ("shop", Overlap::Same, false));
    assert_eq!(matched(&answer)[1], ("spiffe://prod.example/ns/shop/sa/cart", "shop", true));
    // The exact ID of one of them: what is wider is met, and nothing beside it.
    let answer = preview(&server, &admin, "spiffe://prod.example/ns/shop/sa/cart").await.unwrap();
    let expected = [("everything", Overlap::Wider, false), ("shop", Overlap::Wider, false)];
    assert_eq!(met(&answer), expected);
    assert_eq!(matched(&answer), [("spiffe://prod.example/ns/shop/sa/cart", "shop", true)]);
}

#[tokio::test]
async fn what_is_disabled_at_any_level_refuses_what_a_new_pattern_would_match() {
    let server = TestServer::start().await;
    let wide = Client { disabled: true, ..named("everything", "spiffe://prod.example/*") };
    server.register(wide).await.unwrap();
    connects(&server, "/ns/shop/sa/cart").await;
    let answer = preview(&server, &server.svid("/admin"), SHOP).await.unwrap();
    assert_eq!(met(&answer), [("everything", Overlap::Wider, true)]);
    assert_eq!(matched(&answer), [("spiffe://prod.example/ns/shop/sa/cart", "", false)]);
}

#[tokio::test]
async fn the_identity_that_was_seen_last_comes_first_and_the_answer_says_since_when_it_is_whole() {
    let server = TestServer::start().await;
    let admin = server.svid("/admin");
    connects(&server, "/ns/shop/sa/early").await;
    server.advance(Duration::from_mins(1));
    connects(&server, "/ns/shop/sa/late").await;
    let answer = preview(&server, &admin, SHOP).await.unwrap();
    let order: Vec<&str> = answer.identities.iter().map(|one| one.spiffe_id.as_str()).collect();
    assert_eq!(order, ["spiffe://prod.example/ns/shop/sa/late", "spiffe://prod.example/ns/shop/sa/early"]);
    // All that were seen since the start.
    let (start, now) = (answer.seen_since.unwrap().seconds, i64::try_from(server.now().0).unwrap());
    assert_eq!(now - start, 60);
    assert_eq!(answer.identities[0].last_seen.unwrap().seconds, now);
}

#[tokio::test]
async fn who_shows_a_certificate_without_its_key_is_not_seen_under_its_name() {
    let server = TestServer::start().await;
    let (victim, thief) = (server.svid("/ns/shop/sa/victim"), server.svid("/ns/shop/sa/thief"));
    let key = any_supported_type(&thief.private_key()).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(victim.chain.clone(), key));
    let config = server.tls_builder().with_client_cert_resolver(Arc::new(shown));
    assert!(matches!(knock(server.addresses.mtls, config).await, Outcome::Alert(_)));
    connects(&server, "/ns/shop/sa/thief").await;
    let answer = preview(&server, &server.svid("/admin"), SHOP).await.unwrap();
    assert_eq!(matched(&answer), [("spiffe://prod.example/ns/shop/sa/thief", "", true)]);
}

#[tokio::test]
async fn a_teams_admin_sees_what_lies_within_its_grants_and_others_nothing() {
    let server = with_grants().await;
    let team = server.svid(SHOP_ADMIN);
    server.register(named("everything", "spiffe://prod.example/*")).await.unwrap();
    create(&server, &team, shop_client()).await.unwrap();
    for path in ["/ns/shop/sa/checkout", "/ns/shop/sa/cart", "/ns/billing/sa/invoice"] {
        connects(&server, path).await;
    }
    let answer = preview(&server, &team, "spiffe://prod.example/*").await.unwrap();
    assert_eq!(met(&answer), [("checkout", Overlap::Narrower, false)]);
    let expected = [
        // What applies to it is for admins to see.
        ("spiffe://prod.example/ns/shop/sa/cart", "", true),
        ("spiffe://prod.example/ns/shop/sa/checkout", "checkout", false),
    ];
    assert_eq!(matched(&answer), expected);
    assert_eq!(met(&preview(&server, &server.svid("/auditor"), SHOP).await.unwrap()).len(), 2);
    let refused = refusal(preview(&server, &server.svid("/ns/shop/sa/cart"), SHOP).await);
    assert_eq!(refused, (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    for malformed in ["", "spiffe://prod.example", "https://prod.example/a", "spiffe://prod.example/a*"] {
        let refused = refusal(preview(&server, &team, malformed).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{malformed}");
    }
}
