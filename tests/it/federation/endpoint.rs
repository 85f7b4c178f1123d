//! Federation (SPIFFE Federation sections 4 to 6): a trust domain whose bundle is fetched from its endpoint, while that
//! changes, fails, and comes back.

use std::time::Duration;

use lanyard::authority::trust::Unproven;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::bundle::ENDPOINT;
use crate::support::bundle::Federated;
use crate::support::bundle::PARTNER;
use crate::support::bundle::document;
use crate::support::bundle::root;
use crate::support::ca::TestCa;
use crate::support::calls::refusal;
use crate::support::door::within;

const SHOP: &str = "spiffe://partner.example/shop";

/// A channel of the partner's workload that has been used.
async fn open(federated: &Federated, ca: &TestCa) -> KeyServiceClient<Channel> {
    let mut keys = KeyServiceClient::new(federated.server.channel(&ca.svid(SHOP).issue()));
    assert!(is_served(&mut keys).await);
    keys
}

/// Whether a call over a connection is answered; if not, then because the certificate is no longer proven.
async fn is_served(keys: &mut KeyServiceClient<Channel>) -> bool {
    let outcome = within(keys.get_jwks(GetJwksRequest {})).await;
    if outcome.is_err() {
        assert_eq!(refusal(outcome), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));
        return false;
    }
    true
}

// SPIFFE Federation sections 4.2, 5.1 and 5.2.1
#[tokio::test]
async fn federated_workloads_are_refused_until_their_bundle_is_there() {
    let federated = Federated::by_web().await;
    federated.fail().await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
    assert_eq!(*federated.server.server.readiness().borrow(), Ok(()));
    assert_eq!(federated.prove(&federated.server.setup.ca, "spiffe://prod.example/shop"), Ok(()));

    federated.publish(&document(&[&federated.partner], 1)).await;
    assert_eq!(federated.partner(), Ok(()));
    let _keys = open(&federated, &federated.partner).await;
    // It vouches for its own names alone, and no other CA vouches for those.
    assert_eq!(federated.prove(&federated.partner, "spiffe://prod.example/shop"), Err(Unproven::NoPath));
    assert_eq!(federated.prove(&federated.partner, "spiffe://other.example/shop"), Err(Unproven::NoPath));
    for other in [&federated.server.setup.ca, &federated.server.setup.other_ca, &federated.web, &TestCa::new(PARTNER)] {
        assert_eq!(federated.prove(other, SHOP), Err(Unproven::NoPath));
    }
}

// SPIFFE Federation sections 4.2 and 5.1
#[tokio::test]
async fn a_document_that_holds_the_roots_of_another_trust_domain_takes_nothing_from_that() {
    let federated = Federated::by_web().await;
    let prod = &federated.server.setup.ca;
    federated.publish(&document(&[&federated.partner, prod], 1)).await;
    // Whom the partner lets vouch for its own names is the partner's to say.
    assert_eq!(federated.prove(prod, SHOP), Ok(()));
    assert_eq!(federated.prove(&federated.partner, "spiffe://prod.example/shop"), Err(Unproven::NoPath));
    assert_eq!(federated.prove(prod, "spiffe://prod.example/shop"), Ok(()));
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2; X509-SVID section 5.1
#[tokio::test]
async fn a_root_admits_from_when_it_joins_until_it_leaves_on_open_connections_too() {
    let federated = Federated::by_web().await;
    let next = TestCa::new(PARTNER);
    federated.publish(&document(&[&federated.partner], 1)).await;
    let mut old = open(&federated, &federated.partner).await;
    assert_eq!(federated.prove(&next, SHOP), Err(Unproven::NoPath));

    federated.publish(&document(&[&federated.partner, &next], 2)).await;
    let mut new = open(&federated, &next).await;
    assert!(is_served(&mut old).await);

    federated.publish(&document(&[&next], 3)).await;
    assert!(!is_served(&mut old).await);
    assert!(is_served(&mut new).await);
    assert_eq!(federated.partner(), Err(Unproven::NoPath));
}

// SPIFFE Federation section 5.2.2
#[tokio::test]
async fn an_https_spiffe_endpoint_is_verified_against_the_bundle_that_was_fetched_last() {
    let federated = Federated::by_spiffe().await;
    let next = TestCa::new(PARTNER);
    // The bootstrap bundle alone authenticates no client.
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
    federated.publish(&document(&[&federated.partner, &next], 1)).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Ok(()), Ok(())));
    federated.publisher.show(&next.svid(ENDPOINT).issue());
    federated.publish(&document(&[&next], 2)).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Err(Unproven::NoPath), Ok(())));
    // The root that has left vouches for the endpoint no longer: what comes from there is not taken.
    federated.publisher.show(&federated.partner.svid(ENDPOINT).issue());
    federated.publish(&document(&[&federated.partner], 3)).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Err(Unproven::NoPath), Ok(())));
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2
#[tokio::test]
async fn an_outage_beyond_the_bound_shuts_the_trust_domain_out_until_it_is_over() {
    for federated in [Federated::by_web().await, Federated::by_spiffe().await] {
        federated.publish(&document(&[&federated.partner], 1)).await;
        let mut keys = open(&federated, &federated.partner).await;
        let confirmed = federated.server.now();
        federated.server.advance(Duration::from_mins(10));
        federated.publish(&document(&[&federated.partner], 1)).await;
        // Long-lived, so that it is not the certificate that ends.
        let leaf = federated.partner.svid(SHOP).between(confirmed, confirmed.after(Duration::from_hours(9))).issue();
        let mut long = KeyServiceClient::new(federated.server.channel(&leaf));
        assert!(is_served(&mut keys).await && is_served(&mut long).await);

        federated.server.advance(Duration::from_hours(1));
        federated.fail().await;
        let prove = || federated.server.server.authority().prove_now(&leaf.chain).map(drop);
        assert_eq!(prove(), Ok(()));
        assert!(is_served(&mut long).await);
        federated.server.advance(Duration::from_secs(1));
        assert_eq!(prove(), Err(Unproven::StaleBundle));
        assert!(!is_served(&mut long).await);
        // No other client is refused along with it.
        let now = federated.server.now();
        let prod =
            federated.server.setup.ca.svid("spiffe://prod.example/a").between(now, now.after(Duration::from_mins(1)));
        assert!(federated.server.server.authority().prove_now(&prod.issue().chain).is_ok());

        federated.publish(&document(&[&federated.partner], 1)).await;
        assert_eq!(prove(), Ok(()));
        assert!(is_served(&mut long).await);
    }
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2; RFC 7515 section 4; SPIFFE Trust Domain and Bundle section 4.1
#[tokio::test]
async fn a_malformed_document_keeps_the_last_good_one_for_its_time_and_no_longer() {
    let federated = Federated::by_web().await;
    federated.publish(&document(&[&federated.partner], 1)).await;
    let next = root(&TestCa::new(PARTNER));
    let wrong = [
        b"<html>".to_vec(),
        b"{\"keys\":".to_vec(),
        b"{}".to_vec(),
        format!("{{\"keys\":[],\"keys\":[{next}]}}").into_bytes(),
        json!({"keys": [next], "spiffe_sequence": "2"}).to_string().into_bytes(),
    ];
    for wrong in wrong {
        federated.publish(&wrong).await;
        assert_eq!(federated.partner(), Ok(()), "{}", String::from_utf8_lossy(&wrong));
    }
    federated.server.advance(Duration::from_hours(1) + Duration::from_secs(1));
    federated.publish(b"{}").await;
    let now = federated.server.now();
    let leaf = federated.partner.svid(SHOP).between(now, now).issue();
    assert_eq!(federated.server.server.authority().prove_now(&leaf.chain).unwrap_err(), Unproven::StaleBundle);
}

// SPIFFE Trust Domain and Bundle sections 4.1 and 4.1.3
#[tokio::test]
async fn an_emptied_document_ends_all_workloads_of_the_trust_domain_at_once() {
    let federated = Federated::by_web().await;
    let unusable = json!({"keys": [{"kty": "EC", "use": "x509-svid"}]}).to_string();
    for (step, emptied) in [b"{\"keys\":[]}".as_slice(), unusable.as_bytes()].into_iter().enumerate() {
        federated.publish(&document(&[&federated.partner], u64::try_from(step).unwrap())).await;
        let mut keys = open(&federated, &federated.partner).await;
        federated.publish(emptied).await;
        assert!(!is_served(&mut keys).await);
        assert_eq!(federated.partner(), Err(Unproven::NoPath));
    }
    // A new bundle admits again.
    federated.publish(&document(&[&federated.partner], 9)).await;
    assert_eq!(federated.partner(), Ok(()));
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2; SPIFFE Trust Domain and Bundle sections 4.1 and 4.2
#[tokio::test]
async fn a_sequence_that_goes_back_is_refused_as_long_as_the_newer_bundle_counts() {
    let federated = Federated::by_web().await;
    let (old, beyond) = (TestCa::new(PARTNER), u64::from(u32::MAX) + 7);
    federated.publish(&document(&[&federated.partner], beyond)).await;
    for lower in [beyond - 1, 7, 0] {
        federated.publish(&document(&[&old], lower)).await;
        assert_eq!((federated.partner(), federated.prove(&old, SHOP)), (Ok(()), Err(Unproven::NoPath)), "{lower}");
    }
    // The same bundle under a lower number is confirmed, and the higher number stays.
    federated.server.advance(Duration::from_mins(50));
    federated.publish(&document(&[&federated.partner], 7)).await;
    let confirmed = federated.server.server.authority().trust();
    let confirmed = confirmed.trust_domains.values().filter_map(|bundle| bundle.confirmed).collect::<Vec<_>>();
    assert_eq!(confirmed, [federated.server.now()]);
    federated.publish(&document(&[&old], 8)).await;
    assert_eq!(federated.partner(), Ok(()));
    // The same or a higher one replaces it.
    federated.publish(&document(&[&federated.partner, &old], beyond)).await;
    assert_eq!(federated.prove(&old, SHOP), Ok(()));
    federated.publish(&document(&[&federated.partner], beyond + 1)).await;
    assert_eq!(federated.prove(&old, SHOP), Err(Unproven::NoPath));
    // A publisher that restarts its sequence is accepted once its previous bundle has expired.
    federated.server.advance(Duration::from_hours(1) + Duration::from_secs(1));
    federated.publish(&document(&[&old], 1)).await;
    let now = federated.server.now();
    let leaf = old.svid(SHOP).between(now, now).issue();
    assert!(federated.server.server.authority().prove_now(&leaf.chain).is_ok());
}

// SPIFFE Federation sections 4.1, 4.2 and 6.2
#[tokio::test]
async fn a_publisher_is_asked_as_often_as_it_wants_to_be() {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let certificate = web.server_certificate("localhost").issue();
    let often = json!({"keys": [root(&partner)], "spiffe_refresh_hint": 1}).to_string();
    let federated =
        Federated::with("profile: https_web, ca: web.pem", partner, web, certificate, often.as_bytes()).await;
    // Without the hint, the second time would be minutes away.
    for _ in 0..3 {
        within(federated.publisher.asked()).await;
    }
}
