//! The Store port: a few verbs over versioned bytes.
//!
//! Keys are paths such as `/clients/checkout`; values are JSON with a schema number, which the authority writes and
//! reads and the store never looks into. A write is acknowledged only when it will survive a power cut.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;

use crate::authority::clock::Timestamp;

/// The most bytes that one value may have.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The most bytes that one key may have.
pub const MAX_KEY_BYTES: usize = 4 * 1024;

/// The most comparisons, and the most writes, that one transaction may have: etcd's default (`--max-txn-ops`).
pub const MAX_TRANSACTION_OPERATIONS: usize = 128;

/// The most bytes that all keys and values of one transaction may have together. etcd takes requests of 1.5 MiB.
pub const MAX_TRANSACTION_BYTES: usize = 256 * 1024;

/// What a store verb returns: nothing here blocks the thread that polls it.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Batches in the order of their revisions. An error ends the stream: list again, and watch from there.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Batch, StoreError>> + Send>>;

/// The place of a transaction in the one order of all of them. It only grows, also over restarts, and a deletion has one too.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// A value, the revision of the write that made it, and its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was written.
    pub revision: Revision,
    /// From when on it is gone, if ever.
    pub expires: Option<Timestamp>,
}

impl<T> Versioned<T> {
    /// Whether it is gone.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What a transaction demands of the present state of a key; otherwise it is a [`StoreError::Conflict`] and changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Whatever stands there, or nothing.
    Any,
    /// Nothing stands there.
    Absent,
    /// What stands there was written at exactly this revision.
    At(Revision),
}

impl Expected {
    /// Whether this is so of a key whose entry has that revision, or that has none.
    pub fn holds(self, present: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => present.is_none(),
            Self::At(revision) => present == Some(revision),
        }
    }
}

/// What becomes of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// It gets a value.
    Put {
        /// The value.
        value: Arc<[u8]>,
        /// From when on the key is gone, if ever.
        expires: Option<Timestamp>,
    },
    /// It is deleted. Where nothing is there, nothing changes.
    Delete,
}

/// Comparisons and writes: if all comparisons hold, all writes are made and have one revision; else none is made.
///
/// A comparison may name a key that is not written. Each key is written once: of two writes the later counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transaction {
    comparisons: Vec<(String, Expected)>,
    writes: BTreeMap<String, Write>,
}

impl Transaction {
    /// Demands this of a key. The first comparison that fails is the one that the conflict names.
    #[must_use]
    pub fn expect(mut self, key: &str, expected: Expected) -> Self {
        self.comparisons.push((key.to_owned(), expected));
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: &str, value: Vec<u8>) -> Self {
        self.writes.insert(key.to_owned(), Write::Put { value: value.into(), expires: None });
        self
    }

    /// Writes `value` at `key`, where it is until `expires`.
    #[must_use]
    pub fn put_until(mut self, key: &str, value: Vec<u8>, expires: Timestamp) -> Self {
        self.writes.insert(key.to_owned(), Write::Put { value: value.into(), expires: Some(expires) });
        self
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(mut self, key: &str) -> Self {
        self.writes.insert(key.to_owned(), Write::Delete);
        self
    }

    /// The comparisons, in the order in which they are made.
    pub fn comparisons(&self) -> &[(String, Expected)] {
        &self.comparisons
    }

    /// The writes by key.
    pub fn writes(&self) -> &BTreeMap<String, Write> {
        &self.writes
    }

    /// The writes alone.
    pub fn into_writes(self) -> BTreeMap<String, Write> {
        self.writes
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        let compared: usize = self.comparisons.iter().map(|(key, _)| key.len()).sum();
        let written = self.writes.iter().map(|(key, write)| {
            let value = match write {
                Write::Put { value, .. } => value.len(),
                Write::Delete => 0,
            };
            key.len() + value
        });
        compared + written.sum::<usize>()
    }

    /// Whether every store takes a transaction of this size.
    pub fn check_size(&self) -> Result<(), StoreError> {
        let count = self.comparisons.len().max(self.writes.len());
        if count > MAX_TRANSACTION_OPERATIONS {
            return Err(StoreError::TooMany { count, limit: MAX_TRANSACTION_OPERATIONS });
        }
        let compared = self.comparisons.iter().map(|(key, _)| key);
        for key in compared.chain(self.writes.keys()) {
            at_most(MAX_KEY_BYTES, key.len())?;
        }
        for write in self.writes.values() {
            if let Write::Put { value, .. } = write {
                at_most(MAX_VALUE_BYTES, value.len())?;
            }
        }
        at_most(MAX_TRANSACTION_BYTES, self.bytes())
    }
}

fn at_most(limit: usize, bytes: usize) -> Result<(), StoreError> {
    if bytes > limit { Err(StoreError::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// All entries under a prefix, in the order of their keys, as they stood at one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// Key and value of each entry.
    pub entries: Vec<(String, Versioned<Arc<[u8]>>)>,
    /// The store's revision at that moment: watch from here to miss nothing.
    pub revision: Revision,
}

/// What a watcher is told: everything under its prefix up to `revision` has been delivered with this.
///
/// All changes of one revision come in one batch, so that nobody has to see half of a transaction. A batch without changes
/// only tells progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// That of all its changes, or how far the watch has come.
    pub revision: Revision,
    /// In the order of their keys, each of which is there once.
    pub changes: Vec<Change>,
}

/// One write as a watcher sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which key.
    pub key: String,
    /// The new value, or `None` for a deletion.
    pub value: Option<Arc<[u8]>>,
}

/// Why a store verb failed. Nothing was changed, except where `Unavailable` says that this is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The present state of this key is not the expected one.
    #[error("the record has changed since it was read")]
    Conflict {
        /// The key of the first comparison that failed.
        key: String,
    },
    /// A key, a value or all of them together are larger than the store takes.
    #[error("the record is too large: {bytes} bytes where {limit} are allowed")]
    TooLarge {
        /// How large it was.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The transaction has more comparisons or writes than the store takes.
    #[error("the transaction is too large: {count} operations where {limit} are allowed")]
    TooMany {
        /// How many comparisons or writes it has, whichever are more.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The revision to watch from is no longer kept: list again, and watch from there.
    #[error("changes since that revision are no longer kept")]
    Compacted,
    /// The store cannot answer now. Whether a write that got this was stored is not known.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Where registrations, resources, revocations and keys live.
///
/// Read-your-writes holds within one process: a `get` or `list` after an acknowledged write shows it.
///
/// What was written with an end is gone from then on, for reads and for comparisons. Soon after that it is deleted, which
/// watchers are told as any deletion, unless the key has been written again before.
pub trait Store: fmt::Debug + Send + Sync {
    /// The value at `key`, or `None`.
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>>;

    /// All entries whose keys start with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing>;

    /// Makes all writes of a transaction if all its comparisons hold, and returns their revision once they are durable.
    /// Where nothing changes, that is the store's revision.
    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision>;

    /// Writes `value` at `key` if its present state is the expected one.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>, expected: Expected) -> StoreFuture<'a, Revision> {
        self.transact(Transaction::default().expect(key, expected).put(key, value))
    }

    /// Deletes `key` if its present state is the expected one. Deleting what is not there is a conflict, except with
    /// [`Expected::Any`] and [`Expected::Absent`], which then change nothing and return the store's revision.
    fn delete<'a>(&'a self, key: &'a str, expected: Expected) -> StoreFuture<'a, Revision> {
        self.transact(Transaction::default().expect(key, expected).delete(key))
    }

    /// Every change after `from` to a key under `prefix`, in order, without gaps; first those already made, then new ones as
    /// they are acknowledged. A watch that works delivers a batch every second at least: where there is nothing else to
    /// say, one without changes.
    fn watch(&self, prefix: &str, from: Revision) -> Watch;

    /// Whether writes can be taken. Once this fails in an embedded store it fails until the process is started again.
    ///
    /// # Errors
    /// What stopped the store, as [`StoreError::Unavailable`].
    fn health(&self) -> Result<(), StoreError>;
}
