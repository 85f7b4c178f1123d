//! Signing keys follow the store: which verify, which one signs, and what a record that is of no use does.

use std::sync::Arc;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::GrantError;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::keys::SigningKeys;
use lanyard::authority::state::Entry;
use lanyard::authority::state::Snapshot;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::proto::Decision as Answer;
use lanyard::proto::DenyReason as Reason;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::server::StartError;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;
use tokio_stream::StreamExt as _;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::door::within;
use crate::support::http::get;
use crate::support::keys::new_record;
use crate::support::keys::put;
use crate::support::keys::sealer;
use crate::support::leaf::Leaf;
use crate::support::logged::logged;
use crate::support::mint::Mint;
use crate::support::mint::kid_of;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const LATER: Timestamp = Timestamp(NOW.0 + 1);

/// A record of a new ES256 key.
fn record(made: Timestamp) -> KeyRecord {
    new_record(&sealer(1), SigningAlgorithm::Es256, made).0
}

/// Writes a value into the store of a fixture, or deletes what is there, and has its authority take that in as its watch
/// tells of it.
fn write(fixture: &TestAuthority, key: &str, value: Option<Vec<u8>>) {
    let change = Change { key: key.to_owned(), value: value.clone().map(Into::into) };
    let revision = match value {
        Some(value) => ready(fixture.store.put(key, value, Expected::Any)),
        None => ready(fixture.store.delete(key, Expected::Any)),
    };
    fixture.authority.apply(&Batch { revision: revision.unwrap(), changes: vec![change] });
}

fn add(fixture: &TestAuthority, record: &KeyRecord) {
    write(fixture, &record.store_key(), Some(record.to_bytes().unwrap()));
}

fn remove(fixture: &TestAuthority, kid: &str) {
    write(fixture, &format!("/keys/{kid}"), None);
}

/// The `kid`s in a JWK Set.
fn kids(jwks: &str) -> Vec<String> {
    let jwks: Value = serde_json::from_str(jwks).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn published(fixture: &TestAuthority) -> Vec<String> {
    kids(&fixture.authority.keys().jwks())
}

/// A new token of the mint's client.
fn issue(mint: &Mint) -> Result<String, GrantError> {
    mint.fixture.issue(&mint.fixture.peer(&mint.leaf), CHECKOUT).map(|token| token.access_token)
}

#[tokio::test]
async fn a_newer_key_of_another_process_verifies_and_signs_as_soon_as_the_watch_tells_of_it() {
    let mint = Mint::new();
    let (fixture, first) = (&mint.fixture, mint.kid());
    let loaded = fixture.authority.load().await.unwrap();
    let mut watch = fixture.store.watch("", loaded);
    let other = TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    other.authority.load().await.unwrap();
    let foreign = other.issue(&other.svid(CHECKOUT), CHECKOUT).unwrap().access_token;
    let second = kid_of(&foreign);
    assert_ne!(second, first);
    mint.denied(&foreign, DenyReason::UnknownKey);
    fixture.authority.apply(&watch.next().await.unwrap().unwrap());
    // Its signature counts now; that it is bound to another certificate is another matter.
    mint.denied(&foreign, DenyReason::CertificateRenewed);
    assert_eq!(mint.evaluate(&mint.token), Ok(()));
    let token = issue(&mint).unwrap();
    assert_eq!((kid_of(&token), mint.evaluate(&token)), (second.clone(), Ok(())));
    assert_eq!(published(fixture), [second, first]);
    assert!(matches!(other.evaluate(&token, &mint.leaf), Decision::Allow(_)));
}

#[test]
fn a_key_that_is_older_or_of_another_algorithm_verifies_and_does_not_sign() {
    let mint = Mint::new();
    let (fixture, first) = (&mint.fixture, mint.kid());
    let older = record(Timestamp(NOW.0 - 1));
    let (other, _) = new_record(&sealer(1), SigningAlgorithm::EdDsa, LATER);
    for record in [&older, &other] {
        add(fixture, record);
        assert_eq!(kid_of(&issue(&mint).unwrap()), first);
        assert!(fixture.authority.keys().find(record.key_id()).is_some());
    }
    assert_eq!(published(fixture), [&first, older.key_id(), other.key_id()]);
}

#[test]
fn the_tokens_of_a_key_whose_record_is_deleted_are_refused_at_their_next_use() {
    let mint = Mint::new();
    let (fixture, first) = (&mint.fixture, mint.kid());
    let next = record(LATER);
    add(fixture, &next);
    let token = issue(&mint).unwrap();
    for token in [&mint.token, &token] {
        assert_eq!(mint.evaluate(token), Ok(()), "it is remembered from now on");
    }
    let under_way = fixture.authority.view();
    let back = ready(fixture.store.get(&format!("/keys/{first}"))).unwrap().unwrap().value;
    remove(fixture, &first);
    mint.denied(&mint.token, DenyReason::UnknownKey);
    assert_eq!(mint.evaluate(&token), Ok(()));
    assert_eq!(published(fixture), [next.key_id()]);
    assert!(under_way.snapshot.keys.find(&first).is_some(), "a request under way goes on by its view");
    // The same record again: its tokens are good again.
    write(fixture, &format!("/keys/{first}"), Some(back.to_vec()));
    assert_eq!(mint.evaluate(&mint.token), Ok(()));
}

#[test]
fn the_key_before_signs_again_when_the_newest_is_deleted() {
    let mint = Mint::new();
    let next = record(LATER);
    add(&mint.fixture, &next);
    let token = issue(&mint).unwrap();
    assert_eq!(kid_of(&token), next.key_id());
    remove(&mint.fixture, next.key_id());
    mint.denied(&token, DenyReason::UnknownKey);
    assert_eq!(kid_of(&issue(&mint).unwrap()), mint.kid());
    assert_eq!(mint.kid(), kid_of(&mint.token));
}

#[test]
fn a_key_record_that_does_not_open_changes_nothing_and_is_logged() {
    let mint = Mint::new();
    let (fixture, first) = (&mint.fixture, mint.kid());
    let place = format!("/keys/{first}");
    let good = record(LATER);
    let (foreign, _) = new_record(&sealer(2), SigningAlgorithm::Es256, LATER);
    let mut wrong: Value = serde_json::from_slice(&good.to_bytes().unwrap()).unwrap();
    wrong["algorithm"] = json!("RS256");
    let bad = [
        (good.store_key(), b"garbage".to_vec(), "not what this version writes"),
        (good.store_key(), wrong.to_string().into_bytes(), "not a PKCS#8 private key"),
        (foreign.store_key(), foreign.to_bytes().unwrap(), "does not open"),
        ("/keys/elsewhere".to_owned(), good.to_bytes().unwrap(), "another key's"),
        // In the place of one that is good.
        (place.clone(), b"garbage".to_vec(), "not what this version writes"),
        (place.clone(), foreign.to_bytes().unwrap(), "does not open"),
    ];
    for (key, value, why) in bad {
        let ((), log) = logged(|| write(fixture, &key, Some(value)));
        let [line] = &log[..] else { panic!("{key}: {log:?}") };
        assert!(line.contains("ERROR") && line.contains(&key) && line.contains(why), "{line}");
        // Also when all is read anew, as after a watch that broke off.
        for _ in 0..2 {
            assert_eq!(published(fixture), [first.as_str()], "{key}");
            assert_eq!(mint.evaluate(&mint.token), Ok(()), "{key}");
            assert_eq!(issue(&mint).map(|token| kid_of(&token)).as_deref(), Ok(first.as_str()), "{key}");
            let (loaded, log) = logged(|| ready(fixture.authority.load()));
            loaded.unwrap();
            assert!(log.iter().any(|line| line.contains("ERROR") && line.contains(&key)), "{key}: {log:?}");
        }
    }
    // What is written over it counts: a record that opens, and a deletion.
    add(fixture, &good);
    assert_eq!(published(fixture), [good.key_id(), first.as_str()]);
    remove(fixture, &first);
    assert_eq!(published(fixture), [good.key_id()]);
    mint.denied(&mint.token, DenyReason::UnknownKey);
}

#[test]
fn where_no_key_is_left_to_sign_with_tokens_are_refused() {
    let mint = Mint::with(SigningAlgorithm::EdDsa);
    let (fixture, first) = (&mint.fixture, mint.kid());
    let caller = fixture.authority.as_caller(&fixture.svid(PROXY));
    assert!(ready(fixture.authority.sign_introspection(&caller.view, PROXY, &json!({"active": false}))).is_ok());
    let ((), log) = logged(|| remove(fixture, &first));
    let error =
        |line: &String| line.contains("ERROR") && line.contains("EdDSA") && line.contains("no tokens are issued");
    assert!(log.iter().any(error), "{log:?}");
    let (refused, log) = logged(|| issue(&mint));
    assert_eq!(refused, Err(GrantError::SigningUnavailable));
    assert!(log.iter().any(|line| line.contains("ERROR") && line.contains("no signing key for EdDSA")), "{log:?}");
    let view = fixture.authority.view();
    let signed = ready(fixture.authority.sign_introspection(&view, PROXY, &json!({"active": false})));
    assert_eq!(signed, Err(GrantError::SigningUnavailable));
    mint.denied(&mint.token, DenyReason::UnknownKey);
    assert_eq!(published(fixture), [""; 0]);
    let families = fixture.authority.metric_families();
    assert!(!format!("{families:?}").contains(&first));
    // Until the store has one again.
    let (next, _) = new_record(&sealer(1), SigningAlgorithm::EdDsa, LATER);
    add(fixture, &next);
    let token = issue(&mint).unwrap();
    assert_eq!((kid_of(&token).as_str(), mint.evaluate(&token)), (next.key_id(), Ok(())));
}

#[test]
fn an_older_key_of_another_algorithm_signs_where_there_is_none_of_the_configured_one() {
    let mint = Mint::with(SigningAlgorithm::EdDsa);
    let (fixture, first) = (&mint.fixture, mint.kid());
    let older = record(Timestamp(NOW.0 - 1));
    add(fixture, &older);
    assert_eq!(kid_of(&issue(&mint).unwrap()), first);
    remove(fixture, &first);
    let token = issue(&mint).unwrap();
    assert_eq!((kid_of(&token).as_str(), mint.evaluate(&token)), (older.key_id(), Ok(())));
    assert_eq!(published(fixture), [older.key_id()]);
}

#[test]
fn a_record_is_opened_once_however_often_the_store_is_read() {
    let mint = Mint::new();
    let fixture = &mint.fixture;
    let next = record(LATER);
    add(fixture, &next);
    let opened = |kid: &str| Arc::clone(fixture.authority.keys().named(kid).unwrap().0.key().unwrap());
    let before = [opened(&mint.kid()), opened(next.key_id())];
    ready(fixture.authority.load()).unwrap();
    let changes = vec![Change { key: next.store_key(), value: Some(next.to_bytes().unwrap().into()) }];
    let revision = fixture.authority.keys().named(next.key_id()).unwrap().1;
    fixture.authority.apply(&Batch { revision, changes });
    for key in before {
        assert!(Arc::ptr_eq(&key, &opened(key.key_id().as_str())));
    }
}

#[test]
fn an_older_change_of_a_key_never_undoes_a_newer_one() {
    let record = record(NOW);
    let key = record.store_key();
    let opened = sealer(1).open(&key, &record.to_bytes().unwrap()).unwrap();
    let write = |snapshot: &mut Snapshot, revision| {
        snapshot.apply(&key, Some(Entry::SigningKey(opened.clone())), Revision(revision));
    };
    let has = |snapshot: &Snapshot| snapshot.keys.find(record.key_id()).is_some();
    let mut snapshot = Snapshot::new(SigningKeys::new(SigningAlgorithm::Es256));
    write(&mut snapshot, 4);
    let listed = snapshot.clone();
    snapshot.apply(&key, None, Revision(6));
    write(&mut snapshot, 5);
    assert!(!has(&snapshot));
    // A snapshot that was listed before takes over what is later than it: the deletion, and a write after that.
    let reloaded = |later: &Snapshot| {
        let mut reloaded = listed.clone();
        reloaded.advance_to(Revision(4));
        reloaded.merge_newer(later);
        reloaded
    };
    assert!(has(&listed) && !has(&reloaded(&snapshot)));
    write(&mut snapshot, 7);
    assert_eq!(reloaded(&snapshot).keys.named(record.key_id()).unwrap().1, Revision(7));
}

/// The key-encryption key of servers in tests.
const SERVERS: u8 = 7;

async fn over_grpc(server: &TestServer) -> Vec<String> {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/somebody")));
    kids(&keys.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks)
}

/// Waits until a server publishes these keys.
async fn publishes(server: &TestServer, kids: &[&str]) {
    within(async { while over_grpc(server).await != kids {} }).await;
}

/// Waits until the page of metrics says that this key signs.
async fn signs(server: &TestServer, kid: &str) {
    let series = format!("lanyard_signing_key_age_seconds{{kid=\"{kid}\"}}");
    let page = server.page_where(|page| page.get(&series).is_some()).await;
    let ages = page.0.keys().filter(|name| name.starts_with("lanyard_signing_key_age_seconds"));
    assert_eq!(ages.count(), 1);
}

async fn refuses(server: &TestServer, token: &str, leaf: &Leaf, reason: Reason) {
    let answer = server.validate(token, certificate_of(leaf)).await.unwrap();
    assert_eq!((answer.decision(), answer.reason()), (Answer::Deny, reason));
}

#[tokio::test]
async fn two_servers_on_one_store_share_each_others_keys_and_publish_the_ring_as_it_changes() {
    let store: Arc<MemoryStore> = Arc::default();
    let [one, other] = [Setup::default(), Setup::default()];
    one.write();
    other.write();
    let one = one.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let other = other.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let checkout = one.workload("/checkout").await;
    let token = one.token(&checkout).await;
    let first = kid_of(&token);
    for server in [&one, &other] {
        assert_eq!(over_grpc(server).await, [first.as_str()]);
    }
    let (record, _) = new_record(&sealer(SERVERS), SigningAlgorithm::Es256, LATER);
    put(&*store, &record, Expected::Absent).await;
    for server in [&one, &other] {
        signs(server, record.key_id()).await;
        let ring = [record.key_id(), first.as_str()];
        assert_eq!(over_grpc(server).await, ring);
        assert_eq!(kids(&server.send(&server.svid("/somebody"), get("/oauth2/jwks")).await.body), ring);
    }
    let next = one.token(&checkout).await;
    assert_eq!(kid_of(&next), record.key_id());
    for token in [&token, &next] {
        let answer = other.validate(token, certificate_of(&checkout)).await.unwrap();
        assert_eq!(answer.decision(), Answer::Allow);
    }
    store.delete(&record.store_key(), Expected::Any).await.unwrap();
    for server in [&one, &other] {
        signs(server, &first).await;
        refuses(server, &next, &checkout, Reason::UnknownKey).await;
        assert_eq!(server.validate(&token, certificate_of(&checkout)).await.unwrap().decision(), Answer::Allow);
        assert_eq!(over_grpc(server).await, [first.as_str()]);
    }
}

#[tokio::test]
async fn a_restart_finds_the_keys_that_the_server_followed_and_refuses_a_record_that_it_passed_over() {
    let store: Arc<MemoryStore> = Arc::default();
    let setup = Setup::default();
    setup.write();
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let first = server.token(&checkout).await;
    let (record, _) = new_record(&sealer(SERVERS), SigningAlgorithm::Es256, LATER);
    put(&*store, &record, Expected::Absent).await;
    signs(&server, record.key_id()).await;
    let second = server.token(&checkout).await;
    let (foreign, _) = new_record(&sealer(1), SigningAlgorithm::Es256, LATER);
    put(&*store, &foreign, Expected::Absent).await;
    store.delete(&format!("/keys/{}", kid_of(&first)), Expected::Any).await.unwrap();
    publishes(&server, &[record.key_id()]).await;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let strict = Setup::default();
    strict.write();
    let error = strict.start_on(Arc::<MemoryStore>::clone(&store)).await.err().expect("it must not start");
    assert!(matches!(error, StartError::Keys(_)) && error.to_string().contains(foreign.key_id()), "{error}");
    store.delete(&foreign.store_key(), Expected::Any).await.unwrap();
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    publishes(&server, &[record.key_id()]).await;
    assert_eq!(kid_of(&server.token(&checkout).await), record.key_id());
    assert_eq!(server.validate(&second, certificate_of(&checkout)).await.unwrap().decision(), Answer::Allow);
    refuses(&server, &first, &checkout, Reason::UnknownKey).await;
}
