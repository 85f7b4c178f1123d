//! `spiffe_x509`: the five rules of draft-ietf-oauth-spiffe-client-auth section 3.2, each broken alone.

use crate::support::ca::TestCa;
use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

const TOKEN: &str = "/oauth2/token";
const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// Rules 1 to 4 are checked in the handshake: no request is read from a client that violates one.
async fn assert_not_let_in(server: &TestServer, leaf: &Leaf, why: &str) {
    let outcome = knock(server.addresses.mtls, server.tls(leaf)).await;
    assert!(matches!(outcome, Outcome::Alert(_)), "{why}: {outcome:?}");
}

async fn assert_let_in(server: &TestServer, leaf: &Leaf) {
    let form = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];
    server.post(leaf, TOKEN, &form).await.ok();
}

#[tokio::test]
async fn rule_1_the_path_leads_to_the_anchors_of_the_ids_own_trust_domain() {
    let server = TestServer::start().await;
    let own = server.workload("/checkout").await;
    assert_let_in(&server, &own).await;
    let setup = &server.setup;
    assert_let_in(&server, &setup.ca.intermediate("below").svid(CHECKOUT).issue()).await;
    for (leaf, why) in [
        (TestCa::new("prod.example").svid(CHECKOUT).issue(), "an unknown CA of the same name"),
        (setup.other_ca.svid(CHECKOUT).issue(), "another trust domain"),
        (setup.corp.svid(CHECKOUT).issue(), "a client CA"),
        (setup.ca.svid(CHECKOUT).expired().issue(), "expired"),
        (setup.ca.svid(CHECKOUT).not_yet_valid().issue(), "not yet valid"),
    ] {
        assert_not_let_in(&server, &leaf, why).await;
    }
}

#[tokio::test]
async fn rule_2_there_is_one_uri_and_it_is_a_spiffe_id() {
    let server = TestServer::start().await;
    let own = server.workload("/checkout").await;
    assert_let_in(&server, &own).await;
    let ca = &server.setup.ca;
    assert_let_in(&server, &ca.svid(CHECKOUT).dns("checkout.prod.example").issue()).await;
    for (leaf, why) in [
        (ca.svid(CHECKOUT).two_uris().issue(), "two SPIFFE IDs"),
        (ca.svid(CHECKOUT).uri("https://prod.example/checkout").issue(), "another URI"),
        (ca.client_certificate().dns("checkout.prod.example").issue(), "no URI"),
        (ca.client_certificate().uri("https://prod.example/checkout").issue(), "no SPIFFE ID"),
        (ca.svid("spiffe://prod.example").issue(), "no path"),
    ] {
        assert_not_let_in(&server, &leaf, why).await;
    }
}

#[tokio::test]
async fn rule_3_it_is_no_ca() {
    let server = TestServer::start().await;
    let own = server.workload("/checkout").await;
    assert_let_in(&server, &own).await;
    assert_not_let_in(&server, &server.setup.ca.svid(CHECKOUT).ca_leaf().issue(), "CA:TRUE").await;
}

#[tokio::test]
async fn rule_4_its_key_usage_has_digital_signature() {
    let server = TestServer::start().await;
    let own = server.workload("/checkout").await;
    assert_let_in(&server, &own).await;
    let svid = || server.setup.ca.svid(CHECKOUT);
    assert_not_let_in(&server, &svid().without_digital_signature().issue(), "keyEncipherment").await;
    assert_not_let_in(&server, &svid().without_key_usage().issue(), "no keyUsage").await;
}

#[tokio::test]
async fn rule_5_the_id_is_the_client_id_and_that_is_registered_and_sent() {
    let server = TestServer::start().await;
    let (own, other) = (server.workload("/checkout").await, server.workload("/other").await);
    assert_let_in(&server, &own).await;
    let ask = async |leaf: &Leaf, client_id: &str| {
        server.post(leaf, TOKEN, &[("grant_type", "client_credentials"), ("client_id", client_id)]).await.error()
    };
    let invalid = (401, "invalid_client".to_owned());
    assert_eq!(ask(&other, CHECKOUT).await, invalid);
    assert_eq!(ask(&own, "spiffe://prod.example/other").await, invalid);
    let unregistered = server.svid("/unregistered");
    assert_eq!(ask(&unregistered, "spiffe://prod.example/unregistered").await, invalid);
    assert_eq!(ask(&own, "").await, (400, "invalid_request".to_owned()));
}
