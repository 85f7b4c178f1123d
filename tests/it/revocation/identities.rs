//! Revocations by a path of SPIFFE IDs, by trust domain and by role: the tokens and the peers that they refuse.

use std::time::Duration;

use lanyard::proto::AssignedRole;
use lanyard::proto::Client;
use lanyard::proto::DenyReason;
use lanyard::proto::ProtectedResource;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;

use crate::rotation::policies::hash_of;
use crate::support::calls::refusal;
use crate::support::calls::spiffe_uri_client;
use crate::support::check;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::revocation::client;
use crate::support::revocation::identities;
use crate::support::revocation::of;
use crate::support::revocation::trust_domain;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

/// Why a use with the token's own certificate is denied, alike by its whole certificate, by its hash, and by a check.
async fn reason(server: &TestServer, token: &str, leaf: &Leaf) -> Option<DenyReason> {
    let reason = server.validate(token, certificate_of(leaf)).await.unwrap().reason();
    assert_eq!(server.validate(token, hash_of(leaf)).await.unwrap().reason(), reason);
    let checked = server.check(Asked::with(token, leaf).to("GET", "/any")).await;
    let code = reason.as_str_name().strip_prefix("DENY_REASON_").unwrap();
    assert_eq!(checked.reason(), if reason == DenyReason::Unspecified { "" } else { code });
    Some(reason).filter(|reason| *reason != DenyReason::Unspecified)
}

async fn fixture() -> TestServer {
    let server = TestServer::start().await;
    server.protect(ProtectedResource { routes: vec![route(&[], "/**", "")], ..check::orders() }).await.unwrap();
    server
}

#[tokio::test]
async fn a_path_is_revoked_with_all_below_it_by_whole_segments_and_nothing_beside_it() {
    let server = fixture().await;
    for name in ["ns/shop", "ns/shopping"] {
        let client_id = format!("spiffe://prod.example/{name}");
        let pattern = Client { client_id: name.to_owned(), spiffe_id: format!("{client_id}/*"), ..spiffe_client("") };
        server.register(pattern).await.unwrap();
        server.register(spiffe_client(&client_id)).await.unwrap();
    }
    let mut uses = Vec::new();
    for (path, is_below) in [
        ("/ns/shop/a", true),
        ("/ns/shop/a/b", true),
        ("/ns/shop", false),
        ("/ns/shopping/a", false),
        ("/ns/shopping", false),
    ] {
        let leaf = server.svid(path);
        uses.push((path, server.token(&leaf).await, leaf, is_below));
    }
    let target = identities("spiffe://prod.example/ns/shop/*");
    server.revoke(target.clone()).await;
    for (path, token, leaf, is_below) in &uses {
        let expected = is_below.then_some(DenyReason::IdentityRevoked);
        assert_eq!(reason(&server, token, leaf).await, expected, "{path}");
        assert_eq!(knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks(), !is_below, "{path}");
    }
    server.lift(target).await;
    server.advance(Duration::from_secs(1));
    for (path, token, leaf, is_below) in &uses {
        // What was issued before stays refused.
        assert_eq!(reason(&server, token, leaf).await, is_below.then_some(DenyReason::TokenRevoked), "{path}");
        assert_eq!(reason(&server, &server.token(leaf).await, leaf).await, None, "{path}");
    }
}

#[tokio::test]
async fn a_trust_domain_is_revoked_with_all_its_workloads_and_no_other() {
    let server = fixture().await;
    let mut uses = Vec::new();
    for (ca, id) in
        [(&server.setup.other_ca, "spiffe://other.example/a"), (&server.setup.ca, "spiffe://prod.example/a")]
    {
        server.register(spiffe_client(id)).await.unwrap();
        let leaf = ca.svid(id).issue();
        uses.push((server.token(&leaf).await, leaf));
    }
    // A client with an SVID of the trust domain that its client_id does not name.
    let uri = "spiffe://other.example/b".to_owned();
    server.register(spiffe_uri_client("partner", &uri)).await.unwrap();
    let partner = server.setup.other_ca.svid(&uri).issue();
    let partners = server.issue_as(&partner, "partner").await.unwrap().access_token;
    server.revoke(trust_domain("other.example")).await;
    let [(token, leaf), (others, other)] = &uses[..] else { panic!("two uses") };
    assert_eq!(reason(&server, token, leaf).await, Some(DenyReason::IdentityRevoked));
    assert_eq!(reason(&server, &partners, &partner).await, Some(DenyReason::IdentityRevoked));
    assert_eq!(reason(&server, others, other).await, None);
    for (leaf, is_admitted) in [(leaf, false), (&partner, false), (other, true)] {
        assert_eq!(knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks(), is_admitted);
    }
    server.lift(trust_domain("other.example")).await;
    assert_eq!(reason(&server, &partners, &partner).await, Some(DenyReason::TokenRevoked));
    server.advance(Duration::from_secs(1));
    let fresh = server.issue_as(&partner, "partner").await.unwrap().access_token;
    assert_eq!(reason(&server, &fresh, &partner).await, None);
}

#[tokio::test]
async fn a_spiffe_id_is_revoked_also_where_its_client_has_another_name() {
    let server = fixture().await;
    let ids = ["spiffe://prod.example/x", "spiffe://prod.example/y"];
    let mut uses = Vec::new();
    for (id, name) in ids.into_iter().zip(["x", "y"]) {
        server.register(spiffe_uri_client(name, id)).await.unwrap();
        let leaf = server.setup.ca.svid(id).issue();
        uses.push((server.issue_as(&leaf, name).await.unwrap().access_token, leaf));
    }
    server.revoke(client(ids[0])).await;
    assert_eq!(reason(&server, &uses[0].0, &uses[0].1).await, Some(DenyReason::IdentityRevoked));
    assert_eq!(reason(&server, &uses[1].0, &uses[1].1).await, None);
}

#[tokio::test]
async fn the_tokens_of_a_revoked_roles_holders_are_denied_and_those_of_others_are_not() {
    let server = fixture().await;
    // Not a proxy, and asks by its own connection.
    let other = server.workload("/checkout").await;
    let others = server.token(&other).await;
    let gateway = server.workload("/orders-proxy").await;
    let token = server.token(&gateway).await;
    assert_eq!(reason(&server, &token, &gateway).await, None);
    server.revoke(Target::Role(AssignedRole::Proxy.into())).await;
    let asked = crate::support::calls::use_of(&others);
    assert_eq!(server.ask(&other, asked).await.unwrap().reason(), DenyReason::Unspecified);
    let active = async |token: &str| {
        let form = [("token", token)];
        server.post(&server.svid("/admin"), "/oauth2/introspect", &form).await.ok()["active"].as_bool().unwrap()
    };
    assert!(active(&others).await);
    assert!(!active(&token).await);
}

#[tokio::test]
async fn a_pattern_a_trust_domain_or_a_role_that_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let refused = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    for target in [
        identities(""),
        identities("spiffe://prod.example/checkout"),
        identities("spiffe://prod.example/*/checkout"),
        identities("spiffe://prod.example/ns*"),
        identities("prod.example/*"),
        identities("*"),
        trust_domain(""),
        trust_domain("spiffe://prod.example"),
        trust_domain("PROD.example"),
        trust_domain("a b"),
        Target::Role(0),
        Target::Role(6),
    ] {
        let outcome = server.revoke_as(&server.svid("/admin"), of(target.clone())).await;
        assert_eq!(refusal(outcome), refused, "{target:?}");
    }
    let by_workload = server.revoke_as(&server.svid("/checkout"), of(trust_domain("other.example"))).await;
    // It is no registered client, and no admin.
    assert_eq!(refusal(by_workload).0, Code::Unauthenticated);
    let registered = server.workload("/checkout").await;
    for target in [identities("spiffe://other.example/*"), trust_domain("other.example"), Target::Role(2)] {
        let outcome = server.revoke_as(&registered, of(target)).await;
        assert_eq!(refusal(outcome), (Code::PermissionDenied, "NOT_YOURS".to_owned()));
    }
}
