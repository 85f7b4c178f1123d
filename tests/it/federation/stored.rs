//! The bundle that was fetched from an endpoint is stored: a restart starts with it, as long as it may be used, and under the
//! configuration that it was fetched by.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::ManualClock;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::authority::trust::Unproven;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::bundle::ENDPOINT;
use crate::support::bundle::Federated;
use crate::support::bundle::PARTNER;
use crate::support::bundle::document;
use crate::support::bundle::endpoint;
use crate::support::bundle::jwt_key;
use crate::support::bundle::root;
use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::server::Setup;
use crate::support::server::TestServer;

const KEY: &str = "/fetched-bundles/partner.example";
const SHOP: &str = "spiffe://partner.example/shop";
const BY_WEB: &str = "profile: https_web, ca: web.pem";

/// A server on a store of the test, with the bundle of the partner.
async fn fetched() -> (Federated, Arc<MemoryStore>) {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let leaf = web.server_certificate("localhost").issue();
    let (setup, publisher) = Federated::written(BY_WEB, &partner, &web, &leaf, &document(&[&partner], 5)).await;
    let store = Arc::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(&setup.clock)));
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let federated = Federated { server, publisher, partner, web };
    federated.publish(&document(&[&federated.partner], 5)).await;
    assert_eq!(federated.partner(), Ok(()));
    (federated, store)
}

/// The same after a restart with this change of the configuration, while the endpoint does not answer.
async fn restarted(federated: Federated, store: &Arc<MemoryStore>, change: impl FnOnce(&mut Setup)) -> Federated {
    let Federated { server, publisher, partner, web } = federated;
    publisher.answer(503, "", b"");
    let TestServer { server, mut setup, .. } = server;
    server.stop().await;
    change(&mut setup);
    setup.write();
    let server = setup.start_on(Arc::<MemoryStore>::clone(store)).await.unwrap();
    Federated { server, publisher, partner, web }
}

/// Another server with the same configuration on the same store, after its first fetch.
async fn another(federated: &Federated, store: &Arc<MemoryStore>) -> TestServer {
    let first = &federated.server.setup;
    let setup = Setup { clock: Arc::clone(&first.clock), federation: first.federation.clone(), ..Setup::default() };
    setup.write();
    fs::write(setup.path("web.pem"), federated.web.pem()).unwrap();
    let requests = federated.publisher.requests().len();
    let server = setup.start_on(Arc::<MemoryStore>::clone(store)).await.unwrap();
    within(async {
        while federated.publisher.requests().len() == requests {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server
}

async fn record(store: &MemoryStore) -> Value {
    serde_json::from_slice(&store.get(KEY).await.unwrap().unwrap().value).unwrap()
}

async fn until(federated: &Federated, outcome: Result<(), Unproven>) {
    within(async {
        while federated.partner() != outcome {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_restart_starts_with_the_bundle_for_its_time_and_the_sequence_does_not_go_back() {
    let (federated, store) = fetched().await;
    // For half as long as the certificates of the test are valid.
    let shorter = federated.server.setup.federation.replace("max_age: 1h", "max_age: 30m");
    let federated = restarted(federated, &store, |setup| setup.federation = shorter).await;
    assert_eq!(federated.partner(), Ok(()));
    let next = TestCa::new(PARTNER);
    assert_eq!(federated.prove(&next, SHOP), Err(Unproven::NoPath));
    assert_eq!(federated.prove(&federated.partner, "spiffe://prod.example/shop"), Err(Unproven::NoPath));
    federated.publish(&document(&[&next], 4)).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Ok(()), Err(Unproven::NoPath)));
    federated.server.advance(Duration::from_mins(30));
    assert_eq!(federated.partner(), Ok(()));
    federated.server.advance(Duration::from_secs(1));
    assert_eq!(federated.partner(), Err(Unproven::StaleBundle));
    let federated = restarted(federated, &store, |_| {}).await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
    federated.publish(&document(&[&next], 4)).await;
    assert_eq!(federated.prove(&next, SHOP), Ok(()));
}

#[tokio::test]
async fn a_root_that_was_withdrawn_does_not_come_back_with_a_restart() {
    let (federated, store) = fetched().await;
    let next = TestCa::new(PARTNER);
    federated.server.advance(Duration::from_secs(1));
    federated.publish(&document(&[&next], 6)).await;
    let federated = restarted(federated, &store, |_| {}).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Err(Unproven::NoPath), Ok(())));
    federated.server.advance(Duration::from_secs(1));
    federated.publish(b"{\"keys\":[],\"spiffe_sequence\":7}").await;
    let federated = restarted(federated, &store, |_| {}).await;
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Err(Unproven::NoPath), Err(Unproven::NoPath)));
}

#[tokio::test]
async fn a_stored_bundle_counts_under_the_configuration_that_it_was_fetched_by() {
    let (federated, store) = fetched().await;
    let configured = federated.server.setup.federation.clone();
    let id = format!("profile: https_spiffe, endpoint_spiffe_id: '{ENDPOINT}', bundle: partner-roots.pem");
    for from in ["jwks.json", BY_WEB, "max_age: 1h"] {
        assert!(configured.contains(from));
    }
    let mut federated = federated;
    for (from, to) in
        [("jwks.json", "moved.json"), (BY_WEB, id.as_str()), ("max_age", "redirect_hosts: [keys.example], max_age")]
    {
        let other = configured.replace(from, to);
        federated = restarted(federated, &store, |setup| setup.federation = other).await;
        assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain), "{to}");
        federated = restarted(federated, &store, |setup| setup.federation.clone_from(&configured)).await;
        assert_eq!(federated.partner(), Ok(()), "{to}");
    }
    // Another CA for the endpoint.
    let web = federated.server.setup.path("web.pem");
    let (own, another) = (fs::read(&web).unwrap(), TestCa::new("web").pem());
    federated = restarted(federated, &store, |_| fs::write(&web, another).unwrap()).await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
    // A shorter time ends it earlier.
    let shorter = configured.replace("max_age: 1h", "max_age: 1m");
    federated = restarted(federated, &store, |setup| {
        fs::write(setup.path("web.pem"), own).unwrap();
        setup.federation = shorter;
    })
    .await;
    assert_eq!(federated.partner(), Ok(()));
    federated.server.advance(Duration::from_secs(61));
    assert_eq!(federated.partner(), Err(Unproven::StaleBundle));
}

#[tokio::test]
async fn the_file_that_an_endpoint_was_bootstrapped_with_is_part_of_its_configuration() {
    let (partner, web) = (TestCa::new(PARTNER), TestCa::new("web"));
    let profile = format!("profile: https_spiffe, endpoint_spiffe_id: '{ENDPOINT}', bundle: partner-roots.pem");
    let text = document(&[&partner], 5);
    let (setup, publisher) = Federated::written(&profile, &partner, &web, &endpoint(&partner).issue(), &text).await;
    let store = Arc::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(&setup.clock)));
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let federated = Federated { server, publisher, partner, web };
    federated.publish(&text).await;
    let federated = restarted(federated, &store, |_| {}).await;
    assert_eq!(federated.partner(), Ok(()));
    let roots = federated.server.setup.path("partner-roots.pem");
    let federated = restarted(federated, &store, |_| fs::write(&roots, TestCa::new(PARTNER).pem()).unwrap()).await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_ends_the_bundle_alone_until_the_next_fetch() {
    let (mut federated, store) = fetched().await;
    let good = record(&store).await;
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        changed[member] = value;
        changed.to_string()
    };
    // Whoever can write to the store alone cannot say what proves workloads, nor for how long.
    let later = with("keep_until", json!(good["keep_until"].as_u64().unwrap() + 1));
    let own: Value = serde_json::from_slice(&document(&[&TestCa::new(PARTNER)], 9)).unwrap();
    let forged = with("document", own);
    for damaged in [
        "{".to_owned(),
        with("document", json!([])),
        with("more", json!(1)),
        with("fetched_at", json!("x")),
        later,
        forged,
    ] {
        federated.publisher.answer(503, "", b"");
        store.put(KEY, damaged.clone().into_bytes(), Expected::Any).await.unwrap();
        until(&federated, Err(Unproven::StaleBundle)).await;
        let own = &federated.server.setup.ca;
        assert_eq!(federated.prove(own, "spiffe://prod.example/shop"), Ok(()));
        federated = restarted(federated, &store, |_| {}).await;
        assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain), "{damaged}");
        federated.server.advance(Duration::from_secs(1));
        federated.publish(&document(&[&federated.partner], 5)).await;
        assert_eq!(federated.partner(), Ok(()));
        assert_eq!(record(&store).await["document"], good["document"]);
    }
    // An endpoint that answers is asked at once.
    store.put(KEY, b"{".to_vec(), Expected::Any).await.unwrap();
    within(async {
        while store.get(KEY).await.unwrap().unwrap().value.len() < 9 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(federated.partner(), Ok(()));
}

#[tokio::test]
async fn a_record_of_a_newer_schema_suspends_the_trust_domain_and_is_not_replaced() {
    let (federated, store) = fetched().await;
    let newer = store.put(KEY, b"{\"schema\":2}".to_vec(), Expected::Any).await.unwrap();
    until(&federated, Err(Unproven::StaleBundle)).await;
    let federated = restarted(federated, &store, |_| {}).await;
    federated.publish(&document(&[&federated.partner], 6)).await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
    assert_eq!(store.get(KEY).await.unwrap().unwrap().revision, newer);
    let snapshot = federated.server.server.authority().view().snapshot;
    assert_eq!(snapshot.too_new().find(|(kind, _)| *kind == "fetched_bundle").unwrap().1, 1);
    store.delete(KEY, Expected::Any).await.unwrap();
    within(async {
        while federated.server.server.authority().view().snapshot.is_too_new(KEY) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    federated.publish(&document(&[&federated.partner], 6)).await;
    assert_eq!(federated.partner(), Ok(()));
}

#[tokio::test]
async fn a_bundle_is_stored_when_it_changes_or_a_quarter_of_its_time_has_passed_unless_it_is_too_large() {
    let (federated, store) = fetched().await;
    let first = store.get(KEY).await.unwrap().unwrap().revision;
    let same = document(&[&federated.partner], 5);
    federated.server.advance(Duration::from_secs(899));
    federated.publish(&same).await;
    assert_eq!(store.get(KEY).await.unwrap().unwrap().revision, first);
    federated.server.advance(Duration::from_secs(1));
    federated.publish(&same).await;
    let second = store.get(KEY).await.unwrap().unwrap().revision;
    assert!(second > first);
    federated.server.advance(Duration::from_secs(1));
    federated.publish(&large(&federated.partner)).await;
    assert_eq!(federated.partner(), Ok(()));
    assert!(store.get(KEY).await.unwrap().is_none());
}

/// A document that is too large for a record.
fn large(ca: &TestCa) -> Vec<u8> {
    let mut large = jwt_key("large");
    large["padding"] = json!("x".repeat(60 * 1024));
    json!({"keys": [root(ca), large], "spiffe_sequence": 6, "spiffe_refresh_hint": 300}).to_string().into_bytes()
}

#[tokio::test]
async fn a_bundle_that_is_too_large_for_a_record_ends_the_stored_one_at_the_other_replicas_and_for_a_restart() {
    let (federated, store) = fetched().await;
    let other = another(&federated, &store).await;
    let next = TestCa::new(PARTNER);
    let proves = |ca: &TestCa| other.server.authority().prove_now(&ca.svid(SHOP).issue().chain).map(drop);
    assert_eq!((proves(&federated.partner), proves(&next)), (Ok(()), Err(Unproven::NoPath)));

    federated.server.advance(Duration::from_secs(1));
    federated.publish(&large(&next)).await;
    within(async {
        while proves(&federated.partner).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(proves(&next), Ok(()));
    let federated = restarted(federated, &store, |_| {}).await;
    assert_eq!(federated.partner(), Err(Unproven::UnknownTrustDomain));
}

#[tokio::test]
async fn a_fetch_under_way_does_not_undo_a_suspension() {
    let (federated, store) = fetched().await;
    let told = federated.publisher.hold_once(&document(&[&federated.partner], 6));
    federated.publisher.asked().await;
    let suspended = async {
        federated.publisher.asked().await;
        store.put(KEY, b"{\"schema\":2}".to_vec(), Expected::Any).await.unwrap();
        until(&federated, Err(Unproven::StaleBundle)).await;
        told.notify_one();
    };
    tokio::join!(federated.server.server.refresh_federation(), suspended);
    assert_eq!(federated.partner(), Err(Unproven::StaleBundle));
}

#[tokio::test]
async fn a_slow_fetch_does_not_replace_what_another_replica_fetched_and_stored_later() {
    let (federated, store) = fetched().await;
    let (other, next) = (another(&federated, &store).await, TestCa::new(PARTNER));
    federated.publisher.asked().await;
    let told = federated.publisher.hold_once(&document(&[&federated.partner], 6));
    let later = async {
        federated.publisher.asked().await;
        federated.server.advance(Duration::from_secs(1));
        federated.publisher.answer(200, "", &document(&[&next], 7));
        other.server.refresh_federation().await;
        until(&federated, Err(Unproven::NoPath)).await;
        told.notify_one();
    };
    tokio::join!(federated.server.server.refresh_federation(), later);
    assert_eq!((federated.partner(), federated.prove(&next, SHOP)), (Err(Unproven::NoPath), Ok(())));
    assert_eq!(record(&store).await["document"]["spiffe_sequence"], 7);
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_is_set_back_what_is_fetched_counts() {
    let (federated, _store) = fetched().await;
    federated.server.advance(Duration::from_mins(30));
    federated.publish(&document(&[&federated.partner], 6)).await;
    assert_eq!(federated.partner(), Ok(()));
    federated.server.setup.clock.set(NOW);
    let next = TestCa::new(PARTNER);
    within(async {
        while federated.partner().is_ok() {
            federated.publish(&document(&[&next], 7)).await;
        }
    })
    .await;
    assert_eq!(federated.prove(&next, SHOP), Ok(()));
}
