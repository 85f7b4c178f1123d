//! What the core does about keys in a hardware security module: a module in memory, whose times and faults a test sets.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::Hsm;
use lanyard::authority::keys::HsmWork;
use lanyard::authority::keys::KEYS_INDEX;
use lanyard::authority::keys::KeyLocation;
use lanyard::authority::keys::KeyStage;
use lanyard::authority::keys::KeyState;
use lanyard::authority::keys::PublicJwk;
use lanyard::authority::keys::Signer;
use lanyard::authority::keys::Signing;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::keys::SigningFailed;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::signer::local::LocalSigner;
use lanyard::store::memory::MemoryStore;

use super::support::PUBLICATION;
use super::support::RETENTION;
use super::support::Replica;
use super::support::SECOND;
use crate::support::authority::ready as done;
use crate::support::keys::TestKeys;
use crate::support::keys::new_record;
use crate::support::keys::put;
use crate::support::keys::sealer;
use crate::support::unreferenced::Unreferenced as _;

/// Private keys by their `kid`, in a module that can go away.
#[derive(Default)]
struct FakeHsm {
    keys: Mutex<BTreeMap<String, Arc<LocalSigner>>>,
    is_away: AtomicBool,
    /// What happens once while a key is being made.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl FakeHsm {
    fn away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    fn there(&self) -> Result<(), SigningFailed> {
        if self.is_away.load(Ordering::SeqCst) { Err(SigningFailed::Unavailable) } else { Ok(()) }
    }
}

/// A module that several replicas share.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<FakeHsm>);

impl Shared {
    /// The keys that it has.
    pub fn kids(&self) -> Vec<String> {
        self.0.keys.lock().unwrap().keys().cloned().collect()
    }

    /// Deletes all keys: which they were.
    pub fn empty(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.keys.lock().unwrap()).into_keys().collect()
    }
}

impl fmt::Debug for FakeHsm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FakeHsm")
    }
}

impl Hsm for Shared {
    fn check(&self) -> HsmWork<'_, ()> {
        Box::pin(ready(self.0.there()))
    }

    fn generate(&self, algorithm: SigningAlgorithm) -> HsmWork<'_, Vec<u8>> {
        if let Some(meanwhile) = self.0.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        Box::pin(ready(self.0.there().map(|()| {
            let private = LocalSigner::generate(algorithm).unwrap();
            let signer = LocalSigner::from_pkcs8(algorithm, &private).unwrap();
            let public = signer.public_key().to_vec();
            let kid = PublicJwk::from_spki(&public).unwrap().thumbprint();
            self.0.keys.lock().unwrap().insert(kid, Arc::new(signer));
            public
        })))
    }

    fn signer(&self, algorithm: SigningAlgorithm, key_id: &str, public_key: &[u8]) -> Arc<dyn Signer> {
        let (hsm, kid) = (Arc::clone(&self.0), key_id.to_owned());
        Arc::new(FakeSigner { hsm, kid, algorithm, public_key: public_key.to_vec() })
    }

    fn delete<'a>(&'a self, key_id: &'a str) -> HsmWork<'a, ()> {
        Box::pin(ready(self.0.there().map(|()| drop(self.0.keys.lock().unwrap().remove(key_id)))))
    }
}

#[derive(Debug)]
struct FakeSigner {
    hsm: Arc<FakeHsm>,
    kid: String,
    algorithm: SigningAlgorithm,
    public_key: Vec<u8>,
}

impl Signer for FakeSigner {
    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(async move {
            self.hsm.there()?;
            let key = self.hsm.keys.lock().unwrap().get(&self.kid).cloned();
            key.ok_or(SigningFailed::NotHeld)?.sign(message).await
        })
    }
}

/// A replica that makes its keys in this module.
fn replica_on(store: Arc<MemoryStore>, hsm: &Shared) -> Replica {
    Replica::with(store, |_| {}, in_hsm(hsm))
}

/// No keys yet, and new ones in this module.
pub fn in_hsm(hsm: &Shared) -> TestKeys {
    let hsm = hsm.clone();
    TestKeys::none().sealed_by(move || sealer(1).with_hsm(Arc::new(hsm.clone()), KeyLocation::Hsm))
}

fn first(hsm: &Shared) -> Replica {
    let replica = replica_on(Arc::default(), hsm);
    replica.tend();
    replica.registered()
}

#[test]
fn a_retired_key_is_deleted_in_the_module_before_its_record_and_this_is_tried_again() {
    let hsm = Shared::default();
    let replica = first(&hsm);
    let (old, token) = (replica.signs(), replica.token());
    let next = replica.rotate_through();
    assert_eq!(hsm.kids().len(), 2);
    hsm.0.away(true);
    replica.advance(RETENTION);
    replica.tend();
    // The module did not answer, so that the record stays.
    assert_eq!(replica.states(), [KeyState::Retired, KeyState::Active]);
    hsm.0.away(false);
    replica.tend();
    assert_eq!((replica.states(), hsm.kids()), (vec![KeyState::Active], vec![next]));
    assert_eq!(replica.verifies(&token), Err(DenyReason::UnknownKey));
    assert!(!replica.records().contains_key(&old));
}

#[test]
fn replicas_that_share_a_module_sign_with_its_keys() {
    let hsm = Shared::default();
    let one = first(&hsm);
    let other = replica_on(Arc::clone(&one.fixture.store), &hsm);
    other.fixture.clock.set(one.now());
    other.follow();
    assert_eq!(other.signs(), one.signs());
    for token in [one.token(), other.token()] {
        assert_eq!((one.verifies(&token), other.verifies(&token)), (Ok(()), Ok(())));
    }
    hsm.0.away(true);
    assert_eq!(
        done(one.fixture.authority.rotate_signing_key(&one.admin())).unreferenced().err(),
        Some(KeyChangeError::NotMade)
    );
}

#[test]
fn a_key_that_was_made_for_nothing_does_not_remain_in_the_module() {
    let hsm = Shared::default();
    let replica = first(&hsm);
    let before = hsm.kids();
    // While this replica makes a key, another one publishes one.
    let (store, now) = (Arc::clone(&replica.fixture.store), replica.now());
    let (record, _) = new_record(&sealer(1), SigningAlgorithm::Es256, now);
    let record = record.in_stage(KeyStage::Next);
    let kid = record.key_id().to_owned();
    *hsm.0.meanwhile.lock().unwrap() = Some(Box::new(move || {
        done(put(&*store, &record, Expected::Absent));
        done(store.put(KEYS_INDEX, b"{\"schema\":1}".to_vec(), Expected::Any)).unwrap();
    }));
    let rotated = replica.rotate();
    assert_eq!((rotated.was_pending, rotated.next.key_id().as_str()), (true, &*kid));
    assert_eq!(hsm.kids(), before);
}

#[test]
fn a_key_of_a_module_that_is_gone_is_revoked_and_nothing_signs_until_a_key_can_be_made() {
    let hsm = Shared::default();
    let replica = first(&hsm);
    let (kid, token) = (replica.signs(), replica.token());
    hsm.0.away(true);
    assert!(replica.revoke(&kid).replaced_by.is_none());
    assert_eq!(replica.verifies(&token), Err(DenyReason::UnknownKey));
    assert!(replica.fixture.authority.keys().active().is_none());
    assert!(done(replica.fixture.authority.tend_signing_keys()).is_err());
    hsm.0.away(false);
    replica.tend();
    replica.advance(SECOND);
    assert_ne!(replica.signs(), kid);
    assert_eq!(replica.verifies(&replica.token()), Ok(()));
}

#[test]
fn where_new_keys_are_to_be_made_elsewhere_the_next_one_is() {
    let hsm = Shared::default();
    let replica = Replica::first(|_| {});
    let store = Arc::clone(&replica.fixture.store);
    let old = replica.token();
    let moved = replica_on(store, &hsm);
    moved.fixture.clock.set(replica.now());
    moved.follow();
    moved.tend();
    assert_eq!(moved.states(), [KeyState::Active, KeyState::Next]);
    moved.advance(PUBLICATION);
    moved.tend();
    let new = moved.token();
    assert_eq!(hsm.kids(), [moved.signs()]);
    assert_eq!((moved.verifies(&old), moved.verifies(&new)), (Ok(()), Ok(())));
    // A replica without the module verifies what its keys sign.
    let without = Replica::on(Arc::clone(&moved.fixture.store), |_| {});
    without.fixture.clock.set(moved.now());
    without.follow();
    assert_eq!(without.verifies(&new), Ok(()));
}
