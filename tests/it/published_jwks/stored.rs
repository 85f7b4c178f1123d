//! What was fetched from a `jwks_uri` is stored: a restart starts with it, for as long as it may be kept. It counts for the
//! registration that it was fetched for, and for no other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::AllowedHosts;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::JwksUriPolicy;
use lanyard::authority::registration::MAX_PUBLISHED_BYTES;
use lanyard::authority::state::PublishingClient;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Watch;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::store::memory::MemoryStore;
use lanyard::trust_sources::jwks_uri::Poller;
use lanyard::trust_sources::network::SystemNetwork;
use serde_json::Value;
use serde_json::json;

use crate::published_jwks::jwks_uri::poll;
use crate::published_jwks::jwks_uri::publishing;
use crate::published_jwks::jwks_uri::token;
use crate::published_jwks::jwks_uri::written;
use crate::published_jwks::outbound::client;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::publisher::Publisher;
use crate::support::publisher::jwks;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::stores::reads_of_the_store;

const BILLING: &str = "/published-jwks/billing";

/// A server in memory whose clients `billing` and `other` publish a certificate, each at its own URL, and what it stores.
async fn fetched(lines: &str) -> (TestServer, Publisher, Arc<MemoryStore>, Leaf) {
    let (setup, publisher) = written(lines, |_| {}).await;
    let store = Arc::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(&setup.clock)));
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    let other = publishing(&(publisher.uri() + "?other"));
    server.register(Client { client_id: "other".to_owned(), ..other }).await.unwrap();
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok() && server.issue_as(&leaf, "other").await.is_ok());
    (server, publisher, store, leaf)
}

/// The server after a restart on the same store.
async fn restarted(server: TestServer, store: &Arc<MemoryStore>) -> TestServer {
    stopped(server).await.start_on(Arc::<MemoryStore>::clone(store)).await.unwrap()
}

async fn stopped(server: TestServer) -> Setup {
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    setup
}

async fn record(store: &MemoryStore, key: &str) -> (Value, Revision) {
    let stored = store.get(key).await.unwrap().unwrap();
    (serde_json::from_slice(&stored.value).unwrap(), stored.revision)
}

/// Waits until the client `billing` is refused.
async fn until_refused(server: &TestServer, leaf: &Leaf) {
    within(async { while token(server, leaf).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_restart_on_sled_starts_with_what_was_fetched_until_it_may_no_longer_be_kept() {
    let sled = |setup: &mut Setup| setup.store = "{sled: {path: data}}".to_owned();
    let (setup, publisher) = written(", keep: 10m", sled).await;
    let server = setup.start().await.unwrap();
    let [leaf, stranger] = ["billing", "stranger"].map(|name| self_signed(name).issue());
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    poll(&server).await;
    let issued = token(&server, &leaf).await.unwrap().access_token;

    publisher.answer(503, "", b"");
    let server = stopped(server).await.start().await.unwrap();
    assert!(token(&server, &leaf).await.is_ok());
    assert!(token(&server, &stranger).await.is_err());
    let used = server.validate(&issued, certificate_of(&leaf)).await.unwrap();
    assert_eq!(used.decision(), Decision::Allow);
    server.advance(Duration::from_secs(599));
    let server = stopped(server).await.start().await.unwrap();
    assert!(token(&server, &leaf).await.is_ok());
    server.advance(Duration::from_secs(1));
    assert!(token(&server, &leaf).await.is_err());
    let server = stopped(server).await.start().await.unwrap();
    assert!(token(&server, &leaf).await.is_err());
    publisher.publish(&[&leaf]);
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
}

#[tokio::test]
async fn a_stored_document_counts_for_the_registration_and_the_url_that_it_was_fetched_for() {
    let (server, publisher, store, leaf) = fetched("").await;
    publisher.answer(503, "", b"");
    let at = |server: &TestServer, uri: String| Client {
        etag: server.server.authority().client("billing").unwrap().revision.0.to_string(),
        ..publishing(&uri)
    };
    server.update(at(&server, publisher.uri() + "?moved")).await.unwrap();
    assert!(token(&server, &leaf).await.is_err());
    let server = restarted(server, &store).await;
    assert!(token(&server, &leaf).await.is_err());
    assert!(server.issue_as(&leaf, "other").await.is_ok());
    // It is that of the first URL still.
    server.update(at(&server, publisher.uri())).await.unwrap();
    assert!(token(&server, &leaf).await.is_ok());
    let server = restarted(server, &store).await;
    assert!(token(&server, &leaf).await.is_ok());

    let of_another = record(&store, BILLING).await.0.to_string();
    server.delete("billing").await;
    assert!(store.get(BILLING).await.unwrap().is_none(), "it goes with its client");
    server.register(publishing(&publisher.uri())).await.unwrap();
    store.put(BILLING, of_another.into_bytes(), Expected::Any).await.unwrap();
    assert!(token(&server, &leaf).await.is_err(), "it was another client's");
    let server = restarted(server, &store).await;
    assert!(token(&server, &leaf).await.is_err(), "it was another client's");
    publisher.publish(&[&leaf]);
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_out_its_client_alone_until_the_next_fetch() {
    let (mut server, publisher, store, leaf) = fetched("").await;
    let (good, _) = record(&store, BILLING).await;
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        changed[member] = value;
        changed.to_string()
    };
    let too_large = json!({"keys": good["document"]["keys"], "padding": "x".repeat(MAX_PUBLISHED_BYTES)});
    let many = vec![good["document"]["keys"][0].clone(); 17];
    for damaged in [
        "{".to_owned(),
        "{}".to_owned(),
        with("jwks_uri", json!("http://localhost/")),
        with("document", json!({"keys": {}})),
        with("document", json!({"keys": many})),
        with("more", json!(1)),
        with("document", too_large),
    ] {
        store.put(BILLING, damaged.clone().into_bytes(), Expected::Any).await.unwrap();
        until_refused(&server, &leaf).await;
        assert!(server.issue_as(&leaf, "other").await.is_ok());
        publisher.answer(503, "", b"");
        server = restarted(server, &store).await;
        assert!(token(&server, &leaf).await.is_err(), "{damaged}");
        assert!(server.issue_as(&leaf, "other").await.is_ok());
        publisher.publish(&[&leaf]);
        poll(&server).await;
        assert!(token(&server, &leaf).await.is_ok());
        assert_eq!(record(&store, BILLING).await.0["document"], good["document"]);
    }
}

#[tokio::test]
async fn a_record_of_a_newer_schema_suspends_its_client_and_is_not_replaced() {
    let (server, publisher, store, leaf) = fetched(", discovery: on_demand").await;
    // Nothing is fetched that would not count: not in a round, and not for who asks.
    let fetches = || publisher.requests().iter().filter(|head| head.starts_with("GET /jwks.json HTTP")).count();
    let before = fetches();
    let newer = store.put(BILLING, b"{\"schema\":2,\"document\":7}".to_vec(), Expected::Any).await.unwrap();
    until_refused(&server, &leaf).await;
    let server = restarted(server, &store).await;
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_err());
    assert!(server.issue_as(&leaf, "other").await.is_ok());
    assert_eq!((record(&store, BILLING).await.1, fetches()), (newer, before));
    let snapshot = server.server.authority().view().snapshot;
    assert_eq!(snapshot.too_new().find(|(kind, _)| *kind == "published_jwks").unwrap().1, 1);
    store.delete(BILLING, Expected::Any).await.unwrap();
    within(async {
        while server.server.authority().view().snapshot.is_too_new(BILLING) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    publisher.publish(&[&leaf]);
    poll(&server).await;
    assert!(token(&server, &leaf).await.is_ok());
    assert!(fetches() > before);
}

#[tokio::test]
async fn a_document_that_says_the_same_is_stored_again_when_a_quarter_of_its_time_has_passed() {
    let (server, publisher, store, leaf) = fetched(", keep: 40m").await;
    let (_, first) = record(&store, BILLING).await;
    server.advance(Duration::from_secs(598));
    poll(&server).await;
    assert_eq!(record(&store, BILLING).await.1, first);
    poll(&server).await;
    let (second, revision) = record(&store, BILLING).await;
    assert!(revision > first);
    assert_eq!(second["keep_until"].as_u64().unwrap() - second["fetched_at"].as_u64().unwrap(), 2400);
    // What is removed is removed at once, and for a restart too.
    publisher.publish(&[]);
    poll(&server).await;
    assert!(record(&store, BILLING).await.1 > revision);
    publisher.answer(503, "", b"");
    let server = restarted(server, &store).await;
    assert!(token(&server, &leaf).await.is_err());
}

/// A store that takes no writes while it is full.
#[derive(Debug)]
struct Full {
    store: Arc<MemoryStore>,
    full: AtomicBool,
}

impl Store for Full {
    reads_of_the_store!();

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        if self.full.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("it is full".to_owned())) });
        }
        self.store.transact(transaction)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_fetched_counts_also_while_the_store_takes_no_writes() {
    let (setup, publisher) = written("", |_| {}).await;
    let memory = Arc::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(&setup.clock)));
    let store = Arc::new(Full { store: memory, full: AtomicBool::new(false) });
    let server = setup.start_on(Arc::<Full>::clone(&store)).await.unwrap();
    let [first, second] = ["first", "second"].map(|name| self_signed(name).issue());
    server.register(publishing(&publisher.uri())).await.unwrap();
    publisher.publish(&[&first]);
    poll(&server).await;
    store.full.store(true, Ordering::SeqCst);
    publisher.publish(&[&second]);
    poll(&server).await;
    assert!(token(&server, &first).await.is_err());
    assert!(token(&server, &second).await.is_ok());
    store.full.store(false, Ordering::SeqCst);
    poll(&server).await;
    publisher.answer(503, "", b"");
    let server = restarted(server, &store.store).await;
    assert!(token(&server, &first).await.is_err());
    assert!(token(&server, &second).await.is_ok());
}

#[tokio::test]
async fn a_new_or_changed_registration_is_fetched_without_waiting_for_the_next_round() {
    let (server, publisher, _, leaf) = fetched("").await;
    let rounds = publisher.connections();
    let late = Client { client_id: "late".to_owned(), ..publishing(&(publisher.uri() + "?late")) };
    server.register(late).await.unwrap();
    server.advance(Duration::from_secs(2));
    within(async { while server.issue_as(&leaf, "late").await.is_err() {} }).await;
    let etag = server.server.authority().client("billing").unwrap().revision.0.to_string();
    server.update(Client { etag, ..publishing(&(publisher.uri() + "?moved")) }).await.unwrap();
    assert!(token(&server, &leaf).await.is_err());
    server.advance(Duration::from_secs(2));
    within(async { while token(&server, &leaf).await.is_err() {} }).await;
    assert_eq!(publisher.connections(), rounds + 2);
}

fn policy(host: &str, keep: Duration) -> JwksUriPolicy {
    let allowed_hosts = AllowedHosts::parse(&[host.to_owned()]).unwrap();
    JwksUriPolicy { allowed_hosts, keep, on_demand: false }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_tried_once_for_a_change_and_then_in_each_round() {
    let ca = TestCa::new("web");
    let publisher = Publisher::named(&ca, "localhost").await;
    publisher.answer(503, "", b"");
    let keep = Duration::from_hours(1);
    let fixture =
        TestAuthority::with(|settings| settings.jwks_uri = policy(&publisher.host(), keep), TestAuthority::keys());
    let client_of = |uri: &str| ClientMetadata {
        jwks_uri: Some(uri.to_owned()),
        certificate_pem: None,
        ..self_signed_client("billing", "")
    };
    fixture.register(client_of(&publisher.uri()));
    let mut guarded = client(&ca, &[&publisher.host()], Arc::new(SystemNetwork));
    guarded.allow_private_addresses = true;
    let clock = Arc::clone(&fixture.clock);
    let authority = Arc::new(fixture.authority);
    let poller = Poller::new(Arc::clone(&authority), Arc::new(guarded));
    poller.poll_new().await;
    assert_eq!(publisher.connections(), 0, "it was changed just now");
    clock.advance(Duration::from_secs(2));
    for _ in 0..3 {
        poller.poll_new().await;
    }
    assert_eq!(publisher.connections(), 1);
    poller.poll().await;
    poller.poll_new().await;
    assert_eq!(publisher.connections(), 2);
}

#[test]
fn what_another_replica_fetched_counts_within_what_the_own_configuration_permits() {
    let store = Arc::new(MemoryStore::new());
    let hour = Duration::from_hours(1);
    let of = |host: &str, keep| {
        let change = |settings: &mut Policy| settings.jwks_uri = policy(host, keep);
        TestAuthority::on(Arc::clone(&store), change, TestAuthority::keys())
    };
    let one = of("keys.example", hour);
    let metadata = ClientMetadata {
        jwks_uri: Some("https://keys.example/jwks".to_owned()),
        certificate_pem: None,
        ..self_signed_client("billing", "")
    };
    let billing = PublishingClient::of(&one.register(metadata)).unwrap();
    let leaf = self_signed("billing").issue();
    // Its clock is ahead.
    one.clock.advance(Duration::from_mins(30));
    let fetched_at = one.clock.now();
    ready(one.authority.store_published_jwks(&billing, &jwks(&[&leaf]), fetched_at, || ())).unwrap();
    let counts = |fixture: &TestAuthority| {
        let view = fixture.authority.view();
        let client = view.snapshot.directory.named("billing").unwrap();
        view.snapshot.published_jwks.has(client, &leaf.thumbprint(), view.now)
    };
    assert!(counts(&one));
    // One that was requested earlier, and arrives later, replaces neither it nor the record.
    let stored = ready(store.get(BILLING)).unwrap().unwrap().revision;
    let earlier = fetched_at.before(Duration::from_secs(1));
    ready(one.authority.store_published_jwks(&billing, &jwks(&[]), earlier, || ())).unwrap();
    assert!(counts(&one));
    assert_eq!(ready(store.get(BILLING)).unwrap().unwrap().revision, stored);
    // The record itself ends an hour and a half from now.
    for (keep, until) in [(hour, hour), (2 * hour, hour * 3 / 2), (hour / 4, hour / 4)] {
        let two = of("keys.example", keep);
        ready(two.authority.load()).unwrap();
        assert!(counts(&two));
        two.clock.advance(until.saturating_sub(Duration::from_secs(1)));
        assert!(counts(&two), "{keep:?}");
        two.clock.advance(Duration::from_secs(1));
        assert!(!counts(&two), "{keep:?}");
    }
    let elsewhere = of("other.example", hour);
    ready(elsewhere.authority.load()).unwrap();
    assert!(!counts(&elsewhere), "the host is not allowed any more");
}
