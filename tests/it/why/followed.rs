//! Decisions are followed as they are made: by operators all of them, by a team's admin its own, and by nobody else.

use lanyard::proto::DecisionOutcome;
use lanyard::proto::DeleteGrantRequest;
use lanyard::proto::FollowDecisionsRequest;
use lanyard::proto::FollowDecisionsResponse;
use lanyard::proto::RecordedDecision;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::decision_service_client::DecisionServiceClient;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;
use tonic::Status;
use tonic::Streaming;

use crate::grants::support::SHOP_ADMIN;
use crate::grants::support::SHOP_AUDIENCE;
use crate::grants::support::create;
use crate::grants::support::create_resource;
use crate::grants::support::shop_client;
use crate::grants::support::shop_resource;
use crate::grants::support::with_grants;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;

async fn follow(
    server: &TestServer,
    leaf: &Leaf,
    request: FollowDecisionsRequest,
) -> Result<Streaming<FollowDecisionsResponse>, Status> {
    DecisionServiceClient::new(server.channel(leaf)).follow_decisions(request).await.map(tonic::Response::into_inner)
}

async fn next(decisions: &mut Streaming<FollowDecisionsResponse>) -> RecordedDecision {
    let answer = decisions.message().await.unwrap().unwrap();
    assert_eq!(answer.missed, 0);
    answer.decision.unwrap()
}

fn is(decision: &RecordedDecision, event: &str, outcome: DecisionOutcome, reason: &str) {
    assert_eq!((&*decision.event, decision.outcome(), &*decision.reason), (event, outcome, reason), "{decision:?}");
}

#[tokio::test]
async fn each_decision_is_shown_as_it_is_made_also_one_that_the_trail_leaves_out_and_never_a_token() {
    let server = TestServer::start().await;
    server.protect(orders()).await.unwrap();
    let (checkout, thief) = (server.workload("/checkout").await, server.svid("/thief"));
    let mut all = follow(&server, &server.svid("/admin"), FollowDecisionsRequest::default()).await.unwrap();
    let denied = FollowDecisionsRequest { outcome: DecisionOutcome::Denied.into(), ..Default::default() };
    let mut denied = follow(&server, &server.svid("/auditor"), denied).await.unwrap();
    let reason = FollowDecisionsRequest { reason: "TOKEN_MISSING".to_owned(), ..Default::default() };
    let mut without_token = follow(&server, &server.svid("/admin"), reason).await.unwrap();

    let token = server.token(&checkout).await;
    let mut checks = server.checks(&server.svid("/proxy"));
    for asked in [Asked::with(&token, &checkout), Asked::with(&token, &thief), Asked::anonymous()] {
        checks.check(asked.message()).await.unwrap();
    }
    server.validate(&token, certificate_of(&thief)).await.unwrap();

    let issued = next(&mut all).await;
    is(&issued, "token_issued", DecisionOutcome::Allowed, "");
    assert_eq!((&*issued.client_id, &*issued.resource), ("spiffe://prod.example/checkout", ORDERS));
    let allowed = next(&mut all).await;
    is(&allowed, "checked", DecisionOutcome::Allowed, "");
    assert_eq!((&*allowed.caller, &allowed.jti), ("spiffe://prod.example/proxy", &issued.jti));
    let stolen = next(&mut all).await;
    is(&stolen, "checked", DecisionOutcome::Denied, "CERTIFICATE_MISMATCH");
    assert_eq!((&*stolen.route, &*stolen.method), ("/orders/{id}", "GET"));
    assert!(!stolen.reference.is_empty() && stolen.evidence.contains(&thief.thumbprint().to_string()));
    let missing = next(&mut all).await;
    is(&missing, "checked", DecisionOutcome::Denied, "TOKEN_MISSING");
    let validated = next(&mut all).await;
    is(&validated, "binding_decided", DecisionOutcome::Denied, "CERTIFICATE_MISMATCH");
    let signature = token.rsplit('.').next().unwrap();
    assert!(
        [&issued, &allowed, &stolen, &missing, &validated].iter().all(|one| !format!("{one:?}").contains(signature))
    );

    // What is asked for, and nothing in between.
    for expected in [&stolen, &missing, &validated] {
        assert_eq!(next(&mut denied).await, *expected);
    }
    assert_eq!(next(&mut without_token).await, missing);
}

#[tokio::test]
async fn a_teams_admin_follows_what_lies_within_its_grants_when_it_is_decided() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    create(&server, &team, shop_client()).await.unwrap();
    create_resource(&server, &team, shop_resource()).await.unwrap();
    let other = server.workload("/other").await;
    let shop = server.svid("/ns/shop/sa/checkout");
    let mut own = follow(&server, &team, FollowDecisionsRequest::default()).await.unwrap();
    let mut all = follow(&server, &admin, FollowDecisionsRequest::default()).await.unwrap();

    // Another client, at a resource of nobody.
    let token = server.token(&other).await;
    server.validate(&token, certificate_of(&other)).await.unwrap();
    // Another client at the team's resource, and the team's client.
    let at_shop = use_of(&token);
    let at_shop = lanyard::proto::ValidateBindingRequest { audience: SHOP_AUDIENCE.to_owned(), ..at_shop };
    let at_shop = lanyard::proto::ValidateBindingRequest { evidence: certificate_of(&other), ..at_shop };
    server.bindings(&server.svid("/proxy")).validate_binding(at_shop.clone()).await.unwrap();
    server.issue_as(&shop, "").await.unwrap();

    let at_shop_seen = next(&mut own).await;
    is(&at_shop_seen, "binding_decided", DecisionOutcome::Denied, "WRONG_AUDIENCE");
    assert_eq!(at_shop_seen.resource, SHOP_AUDIENCE);
    let issued = next(&mut own).await;
    is(&issued, "token_issued", DecisionOutcome::Allowed, "");
    assert_eq!(issued.client_id, "spiffe://prod.example/ns/shop/sa/checkout");
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(next(&mut all).await.event);
    }
    assert_eq!(events, ["token_issued", "binding_decided", "binding_decided", "token_issued"]);

    // Without the grant nothing is the team's any more, and it may not follow.
    let deletion = DeleteGrantRequest { name: "shop".to_owned(), ..DeleteGrantRequest::default() };
    server.registry(&admin).delete_grant(deletion).await.unwrap();
    server.bindings(&server.svid("/proxy")).validate_binding(at_shop).await.unwrap();
    assert_eq!(next(&mut all).await.resource, SHOP_AUDIENCE);
    let refused = follow(&server, &team, FollowDecisionsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
}

#[tokio::test]
async fn one_who_is_revoked_follows_no_further_and_one_too_many_not_at_all() {
    let server = TestServer::start().await;
    let (admin, auditor) = (server.svid("/admin"), server.svid("/auditor"));
    let mut followed = follow(&server, &auditor, FollowDecisionsRequest::default()).await.unwrap();
    let target = Some(Target::RevokedClientId("spiffe://prod.example/auditor".to_owned()));
    server.tokens(&admin).revoke_token(RevokeTokenRequest { target, ..Default::default() }).await.unwrap();
    server.validate("", None).await.unwrap_err();
    let ended = followed.message().await.unwrap_err();
    assert_eq!((ended.code(), reason_of(&ended)), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));

    let mut others = Vec::new();
    for _ in 0..lanyard::authority::observe::MAX_FOLLOWERS {
        others.push(follow(&server, &admin, FollowDecisionsRequest::default()).await.unwrap());
    }
    let refused = follow(&server, &admin, FollowDecisionsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, "TOO_MANY_FOLLOWERS".to_owned()));
    let malformed = FollowDecisionsRequest { outcome: 99, ..Default::default() };
    assert_eq!(follow(&server, &admin, malformed).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn admins_of_teams_leave_room_for_operators_and_nobody_asks_by_a_pattern_that_takes_long() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let mut teams = Vec::new();
    for _ in 0..lanyard::authority::observe::MAX_FOLLOWERS / 2 {
        teams.push(follow(&server, &team, FollowDecisionsRequest::default()).await.unwrap());
    }
    let refused = follow(&server, &team, FollowDecisionsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, "TOO_MANY_FOLLOWERS".to_owned()));
    let asked = |caller: String| FollowDecisionsRequest { caller, ..Default::default() };
    follow(&server, &admin, asked(format!("{}x", "*".repeat(8)))).await.unwrap();
    for pattern in [format!("{}x", "*".repeat(9)), "x".repeat(2049)] {
        assert_eq!(follow(&server, &admin, asked(pattern)).await.unwrap_err().code(), Code::InvalidArgument);
    }
}
