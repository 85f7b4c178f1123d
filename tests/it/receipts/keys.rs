//! The keys of receipts: made once token exchange is on, sealed, rotated, and never replaced where they are lost.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::backup;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Resealed;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::keys::RECEIPT_KEYS;
use lanyard::authority::keys::RECEIPT_KEYS_INDEX;
use lanyard::authority::keys::ReceiptKeysError;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;

use super::support::CHECKOUT;
use super::support::FRONTEND;
use super::support::Shop;
use super::support::enable;
use super::support::exchanging;
use super::support::orders;
use super::support::receipts;
use crate::keys::reseal::sealed_under;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::keys::TestKeys;
use crate::support::keys::sealer;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

/// The keys that the store has, with their values.
fn stored(store: &MemoryStore) -> Vec<(String, Vec<u8>)> {
    let entries = ready(store.list(RECEIPT_KEYS)).unwrap().entries;
    entries.into_iter().map(|(key, stored)| (key, stored.value.to_vec())).collect()
}

/// What a start on this store comes to.
fn start(store: &Arc<MemoryStore>) -> Result<TestAuthority, ReceiptKeysError> {
    let fixture = exchanging(Arc::clone(store));
    ready(fixture.authority.load()).unwrap();
    ready(fixture.authority.open_receipt_keys()).map(|()| fixture)
}

fn shop() -> Shop {
    Shop::new(orders(Some(receipts(&[CHECKOUT]))))
}

#[test]
fn the_first_key_is_made_on_an_existing_store_once_the_feature_is_enabled() {
    let store = Arc::new(MemoryStore::new());
    let off = TestAuthority::on(Arc::clone(&store), |_| {}, TestAuthority::keys());
    enable(&off);
    ready(off.authority.open_receipt_keys()).unwrap();
    ready(off.authority.tend_receipt_keys()).unwrap();
    assert_eq!(stored(&store), [], "token exchange is off");

    let before = Arc::new(MemoryStore::new());
    let fixture = exchanging(Arc::clone(&before));
    ready(fixture.authority.open_receipt_keys()).unwrap();
    assert_eq!(stored(&before), [], "earlier versions cannot read it");
    enable(&fixture);
    ready(fixture.authority.tend_receipt_keys()).unwrap();
    let made = stored(&before);
    assert_eq!(made.len(), 1);
    let record: Value = serde_json::from_slice(&made[0].1).unwrap();
    assert_eq!(record["schema"], 1);
    let members: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["active_from", "create_time", "id", "schema", "sealed"]);
    // Nothing more is due.
    ready(fixture.authority.tend_receipt_keys()).unwrap();
    assert_eq!(stored(&before), made);
}

#[test]
fn of_two_replicas_that_make_the_first_key_one_does() {
    let store = Arc::new(MemoryStore::new());
    let replicas = [exchanging(Arc::clone(&store)), exchanging(Arc::clone(&store))];
    enable(&replicas[0]);
    for replica in &replicas {
        ready(replica.authority.load()).unwrap();
    }
    for replica in &replicas {
        ready(replica.authority.tend_receipt_keys()).unwrap();
    }
    assert_eq!(stored(&store).len(), 1);
}

#[test]
fn a_receipt_is_accepted_after_a_restart_and_by_another_replica() {
    let shop = shop();
    let receipt = shop.receipt();
    let again = start(&shop.fixture.store).unwrap();
    let view = again.authority.view();
    assert!(again.authority.verified_receipt(&view, &receipt).is_ok());
    assert_eq!(stored(&shop.fixture.store).len(), 1);
}

#[test]
fn a_key_is_rotated_each_day_and_its_receipts_are_accepted_to_their_end() {
    let shop = shop();
    let (authority, clock) = (&shop.fixture.authority, &shop.fixture.clock);
    let tend = || ready(authority.tend_receipt_keys()).unwrap();
    let id = |receipt: &str| receipt.split('.').nth(1).unwrap().to_owned();
    let first = id(&shop.receipt());
    clock.advance(Duration::from_mins(23 * 60 + 49));
    tend();
    assert_eq!(stored(&shop.fixture.store).len(), 1);
    clock.advance(Duration::from_mins(1));
    tend();
    // The next one is stored, and known everywhere, before receipts are made with it.
    assert_eq!(stored(&shop.fixture.store).len(), 2);
    let shop = with_fresh_token(shop);
    assert_eq!(id(&receipt(&shop)), first);
    shop.fixture.clock.advance(Duration::from_secs(599));
    rotated(&with_fresh_token(shop), &first);
}

/// The shop with a certificate that is valid now, and a token.
fn with_fresh_token(shop: Shop) -> Shop {
    let frontend = shop.fixture.peer_now(FRONTEND).0;
    let token = shop.fixture.token(&shop.fixture.peer(&frontend));
    Shop { frontend, token, ..shop }
}

fn receipt(shop: &Shop) -> String {
    shop.check_by(&shop.fixture.peer_now(PROXY).1, "", "/orders/1").unwrap()
}

impl TestAuthority {
    /// A certificate that is valid now, and its holder.
    fn peer_now(&self, id: &str) -> (Leaf, PeerIdentity) {
        let now = self.clock.now();
        let leaf = self.prod.svid(id).between(now.before(Duration::from_mins(1)), now.after(Duration::from_hours(1)));
        let leaf = leaf.issue();
        let peer = self.peer(&leaf);
        (leaf, peer)
    }
}

/// One second before the next key is active.
fn rotated(shop: &Shop, first: &str) {
    let id = |receipt: &str| receipt.split('.').nth(1).unwrap().to_owned();
    let last = receipt(shop);
    assert_eq!(id(&last), first);
    shop.fixture.clock.advance(Duration::from_secs(1));
    let next = receipt(shop);
    assert_ne!(id(&next), first);
    shop.fixture.clock.advance(Duration::from_secs(28));
    let tend = || ready(shop.fixture.authority.tend_receipt_keys()).unwrap();
    tend();
    assert!(shop.read(&last).is_ok() && shop.read(&next).is_ok());
    shop.fixture.clock.advance(Duration::from_secs(92));
    tend();
    assert_eq!(stored(&shop.fixture.store).len(), 1, "the retired one is deleted after two minutes");
    assert_eq!(shop.read(&last).map(drop), Err("RECEIPT_KEY_UNKNOWN"));
    assert_eq!(shop.read(&next).map(drop), Err("RECEIPT_EXPIRED"));
}

#[test]
fn a_lost_key_is_not_replaced_and_the_server_does_not_start_until_exchange_was_off() {
    let shop = shop();
    let store = Arc::clone(&shop.fixture.store);
    for (key, _) in stored(&store) {
        ready(store.delete(&key, Expected::Any)).unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(start(&store), Err(ReceiptKeysError::Lost)));
        assert_eq!(stored(&store), []);
    }
    let off = TestAuthority::on(Arc::clone(&store), |_| {}, TestAuthority::keys());
    ready(off.authority.load()).unwrap();
    ready(off.authority.open_receipt_keys()).unwrap();
    assert_eq!(ready(store.get(RECEIPT_KEYS_INDEX)).unwrap(), None);
    start(&store).unwrap();
    assert_eq!(stored(&store).len(), 1);
}

#[test]
fn a_start_with_exchange_off_leaves_the_keys_that_other_replicas_use() {
    let shop = shop();
    let store = &shop.fixture.store;
    let before = stored(store);
    let receipt = shop.receipt();
    let off = TestAuthority::on(Arc::clone(store), |_| {}, TestAuthority::keys());
    ready(off.authority.load()).unwrap();
    ready(off.authority.open_receipt_keys()).unwrap();
    assert_eq!((before.len(), stored(store)), (1, before));
    let again = start(store).unwrap();
    assert!(again.authority.verified_receipt(&again.authority.view(), &receipt).is_ok(), "the same key");
    // What does not open is of use to nobody.
    let damaged = format!("{RECEIPT_KEYS}damaged");
    ready(store.put(&damaged, b"?".to_vec(), Expected::Absent)).unwrap();
    ready(off.authority.open_receipt_keys()).unwrap();
    assert_eq!(stored(store).len(), 1);
    assert!(ready(store.get(RECEIPT_KEYS_INDEX)).unwrap().is_some());
}

#[test]
fn keys_that_no_replica_rotates_are_forgotten_where_exchange_is_off() {
    const HOUR: u64 = 60 * 60;
    let shop = shop();
    let store = &shop.fixture.store;
    let off = TestAuthority::on(Arc::clone(store), |_| {}, TestAuthority::keys());
    let now = off.clock.now();
    ready(off.authority.load()).unwrap();
    // The next one is due some minutes before a day is over, and each replica with exchange on makes it.
    off.clock.set(Timestamp(now.0 + 24 * HOUR));
    ready(off.authority.tend_receipt_keys()).unwrap();
    ready(off.authority.open_receipt_keys()).unwrap();
    assert_eq!(stored(store).len(), 1);
    off.clock.set(Timestamp(now.0 + 25 * HOUR));
    ready(off.authority.tend_receipt_keys()).unwrap();
    assert_eq!(stored(store), []);
    assert_eq!(ready(store.get(RECEIPT_KEYS_INDEX)).unwrap(), None);
    start(store).unwrap();
    assert_eq!(stored(store).len(), 1, "a start with it makes a new one");
}

#[test]
fn a_key_that_does_not_open_refuses_the_start_and_is_not_replaced() {
    let shop = shop();
    let store = &shop.fixture.store;
    let (key, value) = stored(store).remove(0);
    let record: Value = serde_json::from_slice(&value).unwrap();
    let with = |member: &str, to: Value| {
        let mut changed = record.clone();
        changed[member] = to;
        serde_json::to_vec(&changed).unwrap()
    };
    let moved = format!("{RECEIPT_KEYS}other");
    for (place, value) in [
        (&key, b"?".to_vec()),
        (&key, with("sealed", "AAAA".into())),
        (&key, with("id", "other".into())),
        // Another name in the record does not open what was sealed under this one.
        (&moved, with("id", "other".into())),
        (&moved, value.clone()),
        (&key, with("more", 1.into())),
    ] {
        let before = ready(store.get(place)).unwrap();
        ready(store.put(place, value.clone(), Expected::Any)).unwrap();
        let refused = start(store).map(drop).unwrap_err();
        assert!(matches!(refused, ReceiptKeysError::Record { .. }), "{refused}");
        let sealing = sealer(1);
        let listed = ready(store.list("")).unwrap().entries;
        let records = listed.iter().map(|(key, stored)| (key.as_str(), &*stored.value));
        let faults = backup::verify(records, &sealing).faults;
        assert!(faults.iter().any(|fault| fault.key == *place), "{faults:?}");
        match before {
            Some(before) => ready(store.put(place, before.value.to_vec(), Expected::Any)).unwrap(),
            None => ready(store.delete(place, Expected::Any)).unwrap(),
        };
    }
    start(store).unwrap();
    // Another key-encryption key.
    let keys = TestKeys::none().sealed_by(|| sealer(9));
    let other = TestAuthority::on(Arc::clone(store), |policy| policy.exchange.enabled = true, keys);
    assert!(matches!(ready(other.authority.open_receipt_keys()), Err(ReceiptKeysError::Record { .. })));
}

#[test]
fn the_keys_are_sealed_anew_with_the_signing_keys_and_verified_with_the_store() {
    let shop = shop();
    let receipt = shop.receipt();
    let store = &shop.fixture.store;
    let before = stored(store);
    let resealing = |bytes: &'static [u8]| {
        let keys = TestKeys::none().sealed_by(move || sealed_under(bytes));
        let fixture = TestAuthority::on(Arc::clone(store), |policy| policy.exchange.enabled = true, keys);
        ready(fixture.authority.load()).unwrap();
        let caller = fixture.authority.as_caller(&fixture.svid(ADMIN));
        let resealed = ready(fixture.authority.reseal_keys(&caller)).unreferenced().unwrap();
        (fixture, resealed)
    };
    assert_eq!(resealing(&[2, 1]).1, Resealed { resealed: 2, already: 0 });
    assert_ne!(stored(store), before);
    assert_eq!(resealing(&[2]).1, Resealed { resealed: 0, already: 2 });
    let (fixture, _) = resealing(&[2]);
    assert!(fixture.authority.verified_receipt(&fixture.authority.view(), &receipt).is_ok(), "it is the same key");

    let listed = ready(store.list("")).unwrap().entries;
    let sealing = sealed_under(&[2]);
    let check = |without: &str| {
        let records = listed.iter().filter(|(key, _)| without.is_empty() || !key.starts_with(without));
        backup::verify(records.map(|(key, stored)| (key.as_str(), &*stored.value)), &sealing)
    };
    let whole = check("");
    assert!(whole.faults.is_empty(), "{:?}", whole.faults);
    assert_eq!((whole.counts.get(RECEIPT_KEYS), whole.counts.get(RECEIPT_KEYS_INDEX)), (Some(&1), Some(&1)));
    let lost = check(RECEIPT_KEYS);
    assert_eq!(lost.faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [RECEIPT_KEYS_INDEX]);
}
