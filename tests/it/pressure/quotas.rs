//! What callers can make the server keep: each quota, the last that is within it, and the first beyond it.

use std::time::Duration;

use axum::http::Method;
use lanyard::authority::access::Requester;
use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::NotAnnounced;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::RevokeWarning;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::state::REVOCATIONS;
use lanyard::authority::store::Store as _;
use lanyard::proto::DenyReason as ProtoReason;
use lanyard::proto::ListRevocationsRequest;
use lanyard::proto::Revocation;
use lanyard::proto::RevocationKind;
use lanyard::proto::RevocationWarning;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::calls::refusal;
use crate::support::check::url_encoded;
use crate::support::dcr::manage;
use crate::support::dcr::metadata;
use crate::support::dcr::operator_limit;
use crate::support::dcr::own_identity;
use crate::support::dcr::register;
use crate::support::dcr::registered;
use crate::support::leaf::Leaf;
use crate::support::revocation::of;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::unreferenced::Unreferenced as _;

/// The default of `quotas.revocations`.
const QUOTA: usize = 1000;

fn requester(fixture: &TestAuthority, peer: &PeerIdentity) -> Requester {
    let caller = fixture.authority.as_caller(peer);
    fixture.authority.requester(&caller, None, &ClientAssertion::default()).unwrap()
}

/// Revokes a token as its own client, which calls with this certificate.
fn revoke(fixture: &TestAuthority, peer: &PeerIdentity, token: &str) -> Result<Vec<RevokeWarning>, RevokeError> {
    let (caller, request) = (fixture.authority.as_caller(peer), RevokeRequest::Token(token.to_owned()));
    let requester =
        Requester { client_id: ClientId::parse(CHECKOUT), roles: caller.roles.clone(), sender: caller.sender() };
    let revoked = fixture.authority.revoke(&caller, &requester, request, LastAdmin::Stays);
    ready(revoked).unreferenced().map(|outcome| outcome.warnings)
}

/// The sizes of the keys and values of all stored revocations.
fn stored(fixture: &TestAuthority) -> Vec<usize> {
    let listing = ready(fixture.store.list(REVOCATIONS)).unwrap();
    listing.entries.iter().map(|(key, stored)| key.len() + stored.value.len()).collect()
}

fn is_denied(fixture: &TestAuthority, token: &str, leaf: &Leaf) -> bool {
    match fixture.evaluate(token, leaf) {
        Decision::Allow(_) => false,
        Decision::Deny(reason) => {
            assert_eq!(reason, DenyReason::TokenRevoked);
            true
        }
    }
}

/// The same by a check and by introspection.
fn is_denied_by_others(fixture: &TestAuthority, token: &str, pem: &str) -> [bool; 2] {
    let (authority, proxy) = (&fixture.authority, fixture.proxy());
    let bearer = format!("Bearer {token}");
    let request = CheckRequest {
        destination: Destination { named: Some(ORDERS), principal: "", authority: "" },
        method: "GET",
        path: "/orders",
        headers: vec![("authorization", bearer.as_bytes())],
        certificate: pem,
        principal: "",
        address: "",
    };
    let checked = authority.check(&authority.as_asker(proxy), &request).unwrap();
    let introspected = authority.introspect(&authority.view(), &requester(fixture, proxy), token).unwrap();
    [matches!(checked, CheckAnswer::Deny(_)), introspected.is_none()]
}

#[test]
fn thirty_six_thousand_revocations_are_a_bounded_number_of_records_and_every_token_is_denied() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let orders = ResourceMetadata {
        audience: ORDERS.to_owned(),
        scope: "orders.read orders.write".to_owned(),
        routes: vec![RouteMetadata {
            path: "/orders".to_owned(),
            scope: "orders.read".to_owned(),
            ..RouteMetadata::default()
        }],
        ..ResourceMetadata::default()
    };
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), orders, false)).unwrap();
    let [own, sibling] = [(); 2].map(|()| fixture.prod.svid(CHECKOUT).issue());
    let [peer, replica] = [&own, &sibling].map(|leaf| fixture.peer(leaf));
    let [own_pem, sibling_pem] = [&own, &sibling].map(url_encoded);
    let kept: Vec<String> = (0..3).map(|_| fixture.token(&replica)).collect();
    let tokens: Vec<String> = (0..36_000).map(|_| fixture.token(&peer)).collect();
    assert!(!is_denied(&fixture, &tokens[0], &own));
    assert_eq!(is_denied_by_others(&fixture, &tokens[0], &own_pem), [false; 2]);

    let warned = tokens.iter().map(|token| revoke(&fixture, &peer, token).unwrap());
    let warned = warned.filter(|warnings| *warnings == [RevokeWarning::AllOfCertificate]).count();
    assert_eq!(warned, tokens.len() - QUOTA);
    let sizes = stored(&fixture);
    assert_eq!(sizes.len(), QUOTA + 1);
    // What a record takes in the store, beside what a map takes for any entry.
    assert!(sizes.iter().all(|size| *size < 300), "{sizes:?}");

    for (number, token) in tokens.iter().enumerate() {
        assert!(is_denied(&fixture, token, &own), "{number}");
        if number % 100 == 0 || number.abs_diff(QUOTA) < 3 {
            assert_eq!(is_denied_by_others(&fixture, token, &own_pem), [true; 2], "{number}");
        }
    }
    for token in &kept {
        assert!(!is_denied(&fixture, token, &sibling));
        assert_eq!(is_denied_by_others(&fixture, token, &sibling_pem), [false; 2]);
    }
    // A token of the next second is none of those; that of a sibling ends with its own certificate's.
    fixture.clock.advance(Duration::from_secs(1));
    let next = fixture.token(&peer);
    assert!(!is_denied(&fixture, &next, &own));
    revoke(&fixture, &replica, &kept[0]).unwrap();
    assert!(kept.iter().all(|token| is_denied(&fixture, token, &sibling)));
    assert!(!is_denied(&fixture, &next, &own));
    assert_eq!(stored(&fixture).len(), QUOTA + 2);
    // All of it ends with the tokens.
    fixture.clock.advance(Duration::from_hours(1) + Duration::from_secs(1));
    ready(fixture.authority.sweep_revocations()).unwrap();
    assert_eq!(stored(&fixture).len(), 0);
}

#[test]
fn beyond_the_quota_a_token_of_another_certificate_is_refused_and_stays_valid_and_the_last_within_it_is_revoked() {
    let fixture = TestAuthority::with(|policy| policy.quotas.revocations = 2, TestAuthority::keys());
    fixture.register(spiffe_client(CHECKOUT));
    let [own, sibling] = [(); 2].map(|()| fixture.prod.svid(CHECKOUT).issue());
    let [peer, replica] = [&own, &sibling].map(|leaf| fixture.peer(leaf));
    let tokens: Vec<String> = (0..4).map(|_| fixture.token(&replica)).collect();
    for token in &tokens[..2] {
        assert_eq!(revoke(&fixture, &peer, token), Ok(vec![]));
        assert!(is_denied(&fixture, token, &sibling));
    }
    assert_eq!(revoke(&fixture, &peer, &tokens[2]), Err(RevokeError::QuotaExceeded));
    assert!(!is_denied(&fixture, &tokens[2], &sibling));
    // What is revoked already is revoked.
    assert_eq!(revoke(&fixture, &peer, &tokens[0]), Ok(vec![]));
    assert_eq!(stored(&fixture).len(), 2);
    // The sibling revokes it itself, and an admin has no quota.
    let spared = fixture.token(&peer);
    assert_eq!(revoke(&fixture, &replica, &tokens[2]), Ok(vec![RevokeWarning::AllOfCertificate]));
    assert!(is_denied(&fixture, &tokens[3], &sibling));
    let admin = fixture.svid(ADMIN);
    let (caller, as_admin) = (fixture.authority.as_caller(&admin), requester(&fixture, &admin));
    let request = RevokeRequest::Token(spared.clone());
    assert!(!is_denied(&fixture, &spared, &own));
    ready(fixture.authority.revoke(&caller, &as_admin, request, LastAdmin::Stays)).unwrap();
    assert!(is_denied(&fixture, &spared, &own));
    // With the tokens the quota is free again.
    fixture.clock.advance(Duration::from_mins(5) + Duration::from_secs(1));
    ready(fixture.authority.sweep_revocations()).unwrap();
    let token = fixture.token(&replica);
    assert_eq!(revoke(&fixture, &peer, &token), Ok(vec![]));
    assert!(is_denied(&fixture, &token, &sibling));
}

#[tokio::test]
async fn a_client_beyond_its_quota_is_told_over_grpc_and_http_what_was_revoked() {
    let server = TestServer::started(|setup| setup.quotas = "{revocations: 1}".to_owned()).await;
    let checkout = server.workload("/checkout").await;
    let [sibling, third] = [(); 2].map(|()| server.svid("/checkout"));
    let client_id = "spiffe://prod.example/checkout".to_owned();
    let as_client = |token| RevokeTokenRequest { client_id: client_id.clone(), ..of(Target::Token(token)) };
    let first = server.token(&checkout).await;
    let told = server.revoke_as(&checkout, as_client(first)).await.unwrap();
    assert_eq!(told.warnings().count(), 0);
    let second = server.token(&checkout).await;
    let told = server.revoke_as(&checkout, as_client(second.clone())).await.unwrap();
    assert_eq!(told.warnings().collect::<Vec<_>>(), [RevocationWarning::AllOfCertificate]);
    let denied = server.validate(&second, certificate_of(&checkout)).await.unwrap();
    assert_eq!(denied.reason(), ProtoReason::TokenRevoked);

    let foreign = server.token(&sibling).await;
    let refused = server.revoke_as(&third, as_client(foreign.clone())).await;
    assert_eq!(refusal(refused), (Code::ResourceExhausted, "QUOTA_EXCEEDED".to_owned()));
    let form = [("token", foreign.as_str()), ("client_id", client_id.as_str())];
    let over_http = server.post(&third, "/oauth2/revoke", &form).await;
    assert_eq!(over_http.error(), (429, "temporarily_unavailable".to_owned()));
    assert_eq!(server.validate(&foreign, certificate_of(&sibling)).await.unwrap().reason(), ProtoReason::Unspecified);
    assert_eq!(server.post(&sibling, "/oauth2/revoke", &form).await.status, 200);
    let denied = server.validate(&foreign, certificate_of(&sibling)).await.unwrap();
    assert_eq!(denied.reason(), ProtoReason::TokenRevoked);

    let page = server.page().await;
    assert_eq!(page.get("lanyard_quota_used{quota=\"revocations\"}"), Some(1));
    assert_eq!(page.get("lanyard_quota_exceeded_total{quota=\"revocations\"}"), Some(4));
    let admin = server.svid("/admin");
    let listed = server.tokens(&admin).list_revocations(ListRevocationsRequest::default()).await.unwrap();
    let listed = listed.into_inner().revocations;
    let kinds: Vec<_> = listed.iter().map(Revocation::kind).collect();
    assert_eq!(kinds, [RevocationKind::Token, RevocationKind::IssuedWith, RevocationKind::IssuedWith]);
}

#[tokio::test]
async fn as_many_clients_are_registered_over_http_as_the_quota_says_and_a_deleted_one_makes_room() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.quotas = "{registrations: 2}".to_owned();
    })
    .await;
    server.register(operator_limit()).await.unwrap();
    let [one, two, three] = ["one", "two", "three"].map(|name| server.svid(&format!("/ns/shop/{name}")));
    let (_, token) = registered(&server, &one, json!({})).await;
    registered(&server, &two, json!({})).await;
    let refused = register(&server, &three, &metadata(json!({}))).await;
    assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
    let page = server.page().await;
    assert_eq!(page.get("lanyard_quota_used{quota=\"registrations\"}"), Some(2));
    assert_eq!(page.get("lanyard_quota_exceeded_total{quota=\"registrations\"}"), Some(1));
    // Operators register as many as they like.
    server.workload("/checkout").await;
    let deleted =
        manage(&server, &one, Method::DELETE, "spiffe://prod.example/ns/shop/one", &token, &Value::Null).await;
    assert_eq!(deleted.status, 204);
    registered(&server, &three, json!({})).await;
}

#[test]
fn as_many_successors_are_announced_as_the_quota_says_and_the_same_one_again_is_no_more() {
    let fixture = TestAuthority::with(|policy| policy.quotas.rotations = 2, TestAuthority::keys());
    let other = "spiffe://prod.example/ns/shop/sa/other";
    for id in [CHECKOUT, other] {
        fixture.register(ClientMetadata { rotation: Some("lineage".to_owned()), ..spiffe_client(id) });
    }
    let leaves = |id: &str| {
        let leaf = |hours| fixture.prod.svid(id).between(NOW, NOW.after(Duration::from_hours(hours))).issue();
        [1, 2, 3, 4].map(leaf)
    };
    let announce = |present: &Leaf, next: &Leaf| {
        let caller = fixture.authority.as_caller(&fixture.peer(present));
        ready(fixture.authority.announce_rotation(&caller, &next.chain)).unreferenced().map(drop)
    };
    let own = leaves(CHECKOUT);
    announce(&own[0], &own[1]).unwrap();
    announce(&own[1], &own[2]).unwrap();
    assert_eq!(announce(&own[2], &own[3]), Err(NotAnnounced::QuotaExceeded));
    announce(&own[0], &own[1]).unwrap();
    let others = leaves(other);
    announce(&others[0], &others[1]).unwrap();
    assert_eq!(fixture.authority.successions(), 3);
    // Once the first certificate has expired, its record makes room.
    fixture.clock.advance(Duration::from_mins(90));
    ready(fixture.authority.sweep_lineages()).unwrap();
    announce(&own[2], &own[3]).unwrap();
    assert_eq!(fixture.authority.successions(), 2);
}
