//! Sealing under another key-encryption key, with both readable meanwhile.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::decision::Resealed;
use lanyard::authority::keys::KEYS;
use lanyard::authority::keys::KeyEncryptionKey;
use lanyard::authority::keys::KeyEncryptionKeys;
use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::KeySealer;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::policy::Policy;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::signer::local::LocalSigner;
use lanyard::store::memory::MemoryStore;

use super::support::Replica;
use crate::support::authority::ready;
use crate::support::keys::TestKeys;
use crate::support::unreferenced::Unreferenced as _;

const NOTHING: fn(&mut Policy) = |_| {};

/// The key-encryption keys that are 32 times these bytes, the one that seals first.
pub fn sealed_under(bytes: &[u8]) -> KeySealer {
    let mut keys = bytes.iter().map(|byte| KeyEncryptionKey::parse(&STANDARD.encode([*byte; 32])).unwrap());
    let current = keys.next().unwrap();
    KeySealer::new(KeyEncryptionKeys { current, previous: keys.collect() }, LocalSigner::FACTORY)
}

/// A store with a retired, an active, a next and a revoked key, sealed under key 1.
fn four_keys() -> Arc<MemoryStore> {
    let replica = Replica::first(NOTHING);
    replica.rotate_through();
    replica.rotate();
    replica.revoke(&replica.signs());
    replica.rotate();
    assert_eq!(replica.states().len(), 4);
    Arc::clone(&replica.fixture.store)
}

/// A replica with these key-encryption keys.
fn replica(store: &Arc<MemoryStore>, bytes: &'static [u8]) -> Replica {
    let keys = TestKeys::of(SigningAlgorithm::Es256, []).sealed_by(|| sealed_under(bytes));
    Replica::with(Arc::clone(store), NOTHING, keys)
}

fn reseal(replica: &Replica) -> Result<Resealed, KeyChangeError> {
    ready(replica.fixture.authority.reseal_keys(&replica.admin())).unreferenced()
}

/// How many of the keys open with these.
fn open(store: &MemoryStore, bytes: &[u8]) -> usize {
    let sealer = sealed_under(bytes);
    let entries = ready(store.list(KEYS)).unwrap().entries;
    entries.iter().filter(|(key, stored)| sealer.open(key, &stored.value).is_ok()).count()
}

#[test]
fn all_keys_are_sealed_anew_while_they_are_used_and_stay_what_they_are() {
    let store = four_keys();
    let server = replica(&store, &[2, 1]);
    let (before, token) = (server.keys(), server.token());
    let times = server.records();
    assert_eq!(reseal(&server), Ok(Resealed { resealed: 3, already: 1 }));
    assert_eq!((server.keys(), server.verifies(&token)), (before.clone(), Ok(())));
    for (kid, record) in server.records() {
        let mut old = times[&kid].clone();
        let new = record.as_object().unwrap().clone();
        if let Some(sealed) = new.get("sealed") {
            assert_ne!(&old["sealed"], sealed);
            old["sealed"] = sealed.clone();
        }
        assert_eq!(old.as_object().unwrap(), &new, "the rest of the record is the same");
    }
    // The earlier key opens nothing any more, but the record without a private key.
    assert_eq!((open(&store, &[2]), open(&store, &[1])), (4, 1));
    assert_eq!(reseal(&server), Ok(Resealed { resealed: 0, already: 4 }));
    let restarted = replica(&store, &[2]);
    assert_eq!((restarted.keys(), restarted.signs()), (before, server.signs()));
}

#[test]
fn where_it_breaks_off_each_key_opens_with_one_of_the_two_and_it_goes_on_from_there() {
    for done in 0..=4 {
        let store = four_keys();
        // As far as a process came that was ended.
        let sealer = sealed_under(&[2, 1]);
        let mut resealed = 0;
        for (place, stored) in ready(store.list(KEYS)).unwrap().entries.into_iter().take(done) {
            let record = KeyRecord::from_bytes(&stored.value).unwrap();
            if let Some(new) = sealer.reseal(&record).unwrap() {
                ready(store.put(&place, new.to_bytes().unwrap(), Expected::At(stored.revision))).unwrap();
                resealed += 1;
            }
        }
        for both in [[1, 2], [2, 1]] {
            assert_eq!(open(&store, &both), 4, "after {done}");
        }
        let server = replica(&store, &[2, 1]);
        assert_eq!(reseal(&server), Ok(Resealed { resealed: 3 - resealed, already: 1 + resealed }), "after {done}");
        assert_eq!(open(&store, &[2]), 4);
    }
}

#[test]
fn a_record_of_the_version_before_stays_one() {
    let first = Replica::first(NOTHING);
    let store = Arc::clone(&first.fixture.store);
    let server = replica(&store, &[2, 1]);
    assert_eq!(reseal(&server), Ok(Resealed { resealed: 1, already: 0 }));
    assert!(server.records().values().all(|record| record["schema"] == 1));
    assert_eq!(replica(&store, &[2]).signs(), first.signs());
}

#[test]
fn a_key_that_none_of_the_configured_ones_opens_is_named_and_the_others_are_sealed() {
    let store = four_keys();
    let stranger = sealed_under(&[3]);
    let (_, foreign) =
        ready(stranger.make(SigningAlgorithm::Es256, crate::support::NOW, lanyard::authority::keys::KeyStage::ByAge))
            .unwrap();
    ready(store.put(&foreign.store_key(), foreign.to_bytes().unwrap(), Expected::Absent)).unwrap();
    let server = replica(&store, &[2, 1]);
    assert_eq!(reseal(&server), Err(KeyChangeError::Unreadable));
    assert_eq!((open(&store, &[2]), open(&store, &[3])), (4, 2));
}

#[test]
fn new_keys_are_sealed_under_the_first_and_the_others_only_open() {
    let store = four_keys();
    let server = replica(&store, &[2, 1]);
    server.revoke(&server.signs());
    server.rotate();
    // The new next key.
    assert_eq!(open(&store, &[1, 2]), 5);
    assert!(open(&store, &[2]) > 1 && open(&store, &[1]) > 1);
    assert_eq!(open(&store, &[3]), 2, "the two revoked ones hold nothing to open");
}
