//! What remains in a hardware security module when the store takes no change of the keys: nothing without bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::keys::KeyState;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Watch;
use lanyard::store::memory::MemoryStore;

use super::hsm::Shared;
use super::hsm::in_hsm;
use super::support::PUBLICATION;
use super::support::Replica;
use super::support::SECOND;
use crate::support::authority::ready as done;
use crate::support::stores::reads_of_the_store;
use crate::support::unreferenced::Unreferenced as _;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Write {
    Done,
    /// It is not carried out.
    Failed,
    /// It is carried out, and the answer is lost.
    Unanswered,
}

/// A store whose next writes end like this; those after them, like the last one.
#[derive(Debug)]
struct Failing {
    store: Arc<MemoryStore>,
    writes: Mutex<VecDeque<Write>>,
    accepts_writes: AtomicBool,
}

impl Failing {
    fn next(&self, writes: &[Write]) {
        *self.writes.lock().unwrap() = writes.iter().copied().collect();
    }

    fn write(&self) -> Write {
        let mut writes = self.writes.lock().unwrap();
        if writes.len() > 1 { writes.pop_front().unwrap() } else { writes.front().copied().unwrap_or(Write::Done) }
    }
}

fn failed() -> StoreError {
    StoreError::Unavailable("a fault of the test".to_owned())
}

impl Store for Failing {
    reads_of_the_store!();

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        Box::pin(async move {
            match self.write() {
                Write::Done => self.store.transact(transaction).await,
                Write::Failed => Err(failed()),
                Write::Unanswered => {
                    self.store.transact(transaction).await?;
                    Err(failed())
                }
            }
        })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn health(&self) -> Result<(), StoreError> {
        if self.accepts_writes.load(Ordering::SeqCst) { Ok(()) } else { Err(failed()) }
    }
}

/// A replica on a store that is empty, whose keys are made in the module.
fn replica(hsm: &Shared) -> (Replica, Arc<Failing>) {
    let store: Arc<MemoryStore> = Arc::default();
    let (writes, accepts_writes) = (Mutex::default(), AtomicBool::new(true));
    let failing = Arc::new(Failing { store: Arc::clone(&store), writes, accepts_writes });
    let through: Arc<dyn Store> = Arc::<Failing>::clone(&failing);
    (Replica::through(through, store, |_| {}, in_hsm(hsm)), failing)
}

/// Does what is due, several times, each of which the store fails.
fn fail_to_tend(replica: &Replica) {
    for _ in 0..5 {
        let tended = done(replica.fixture.authority.tend_signing_keys());
        assert_eq!(tended, Err(KeyChangeError::Unavailable));
        replica.advance(SECOND);
    }
}

#[test]
fn no_key_is_made_for_a_store_that_takes_no_writes() {
    let hsm = Shared::default();
    let (replica, store) = replica(&hsm);
    store.next(&[Write::Failed]);
    fail_to_tend(&replica);
    assert_eq!(hsm.kids(), Vec::<String>::new());
    store.next(&[]);
    store.accepts_writes.store(false, Ordering::SeqCst);
    fail_to_tend(&replica);
    assert_eq!(hsm.kids(), Vec::<String>::new());
    store.accepts_writes.store(true, Ordering::SeqCst);
    replica.tend();
    assert_eq!(hsm.kids(), [replica.signs()]);
}

#[test]
fn a_key_that_was_not_stored_is_used_at_the_next_attempt_and_published_from_then_on() {
    let hsm = Shared::default();
    let (replica, store) = replica(&hsm);
    replica.tend();
    let replica = replica.registered();
    let first = replica.signs();
    store.next(&[Write::Done, Write::Failed]);
    for _ in 0..5 {
        let rotated = done(replica.fixture.authority.rotate_signing_key(&replica.admin()));
        assert_eq!(rotated.unreferenced().err(), Some(KeyChangeError::Unavailable));
    }
    assert_eq!(hsm.kids().len(), 2);
    store.next(&[]);
    replica.advance(PUBLICATION);
    let next = replica.rotate().next.key_id().to_string();
    assert_eq!(replica.keys(), [(first, KeyState::Active), (next.clone(), KeyState::Next)]);
    assert_eq!(hsm.kids().len(), 2);
    // Verifiers have had no time to fetch it.
    replica.advance_but(PUBLICATION, SECOND);
    replica.tend();
    assert_ne!(replica.signs(), next);
    replica.advance(SECOND);
    replica.tend();
    assert_eq!(replica.signs(), next);
    assert_eq!(replica.verifies(&replica.token()), Ok(()));
}

#[test]
fn a_key_whose_record_was_stored_without_an_answer_is_neither_deleted_nor_used_twice() {
    let hsm = Shared::default();
    let (replica, store) = replica(&hsm);
    store.next(&[Write::Done, Write::Unanswered]);
    assert_eq!(done(replica.fixture.authority.tend_signing_keys()), Err(KeyChangeError::Unavailable));
    store.next(&[]);
    replica.tend();
    replica.follow();
    let replica = replica.registered();
    let first = replica.signs();
    assert_eq!(hsm.kids(), std::slice::from_ref(&first));
    let next = replica.rotate_through();
    assert_ne!(next, first);
    assert_eq!((hsm.kids().len(), replica.states()), (2, vec![KeyState::Retired, KeyState::Active]));
}

#[test]
fn a_key_that_is_no_longer_in_the_module_is_not_published() {
    let hsm = Shared::default();
    let (replica, store) = replica(&hsm);
    store.next(&[Write::Done, Write::Failed]);
    fail_to_tend(&replica);
    let lost = hsm.empty();
    assert_eq!(lost.len(), 1);
    store.next(&[]);
    replica.tend();
    assert_eq!(hsm.kids(), [replica.signs()]);
    assert!(!lost.contains(&replica.signs()));
}
