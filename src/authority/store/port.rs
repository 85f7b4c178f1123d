//! The Store port: a small set of operations on versioned bytes.
//!
//! Keys are paths such as `/clients/checkout`. Values are JSON with a schema number, which the authority writes and
//! reads; the store does not interpret them. A write is acknowledged only when it is durable across a power failure.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;

use crate::authority::clock::Timestamp;

/// The maximum size of a value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The maximum size of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;

/// The maximum number of comparisons, and of writes, in a transaction: etcd's default (`--max-txn-ops`).
pub const MAX_TRANSACTION_OPERATIONS: usize = 128;

/// The maximum total size of the keys and values of a transaction, in bytes. etcd accepts requests of 1.5 MiB.
pub const MAX_TRANSACTION_BYTES: usize = 256 * 1024;

/// The result of a store operation. No operation blocks the thread that polls it.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Batches in the order of their revisions. After an error the stream ends: list again, and watch from that revision.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Batch, StoreError>> + Send>>;

/// The position of a transaction in the total order of transactions. It only increases, also across restarts. A
/// deletion has a revision too.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// A value, the revision of the write that created it, and its expiry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The revision of the write.
    pub revision: Revision,
    /// The time from which the value is expired, if it expires.
    pub expires: Option<Timestamp>,
}

impl<T> Versioned<T> {
    /// Whether the value has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The state of a key that a transaction expects. Any other state is a [`StoreError::Conflict`] and nothing is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Any state: the key may exist or not.
    Any,
    /// The key does not exist.
    Absent,
    /// The value was written at exactly this revision.
    At(Revision),
}

impl Expected {
    /// Whether the expectation holds for the revision of a key's entry; `None` means that the key does not exist.
    pub fn holds(self, present: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => present.is_none(),
            Self::At(revision) => present == Some(revision),
        }
    }
}

/// A write to a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Sets the value.
    Put {
        /// The value.
        value: Arc<[u8]>,
        /// The time from which the key is expired, if it expires.
        expires: Option<Timestamp>,
    },
    /// Deletes the key. Has no effect if the key does not exist.
    Delete,
}

/// Comparisons and writes. If all comparisons hold, all writes are applied at one revision; otherwise none is applied.
///
/// A comparison may name a key that is not written. Each key is written once: a later write to a key replaces an
/// earlier one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transaction {
    comparisons: Vec<(String, Expected)>,
    writes: BTreeMap<String, Write>,
    takes_away: bool,
}

impl Transaction {
    /// Adds a comparison. A conflict names the first comparison that fails.
    #[must_use]
    pub fn compare(mut self, key: &str, expected: Expected) -> Self {
        self.comparisons.push((key.to_owned(), expected));
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: &str, value: Vec<u8>) -> Self {
        self.writes.insert(key.to_owned(), Write::Put { value: value.into(), expires: None });
        self
    }

    /// Writes `value` at `key`, to expire at `expires`.
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

    /// Says that it only takes away what somebody may: a store that reserves space has it for this.
    #[must_use]
    pub fn taking_away(self) -> Self {
        Self { takes_away: true, ..self }
    }

    /// Whether it only takes away, or only deletes.
    pub fn takes_away(&self) -> bool {
        self.takes_away || self.writes.values().all(|write| matches!(write, Write::Delete))
    }

    /// The comparisons, in the order in which they are evaluated.
    pub fn comparisons(&self) -> &[(String, Expected)] {
        &self.comparisons
    }

    /// The writes by key.
    pub fn writes(&self) -> &BTreeMap<String, Write> {
        &self.writes
    }

    /// Consumes the transaction and returns its writes by key.
    pub fn into_writes(self) -> BTreeMap<String, Write> {
        self.writes
    }

    /// The total size of the keys and values, in bytes.
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

    /// Whether every store accepts a transaction of this size.
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

/// All entries under a prefix, ordered by key, as of one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// The key and value of each entry.
    pub entries: Vec<(String, Versioned<Arc<[u8]>>)>,
    /// The store's revision of the listing. A watch from this revision misses no change.
    pub revision: Revision,
}

/// A part of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListingPart {
    /// The entries, as of one revision.
    pub listing: Listing,
    /// Whether there are more after these.
    pub more: bool,
}

/// The first keys after a given one, ordered, with the revisions of their last writes.
///
/// Keys that have expired and are not deleted yet may be among them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRevisions {
    /// The keys and the revisions.
    pub keys: Vec<(String, Revision)>,
    /// Whether there are more keys after these.
    pub more: bool,
    /// The store's revision at which they were read.
    pub revision: Revision,
}

/// A batch of changes. When it is received, everything under the watched prefix up to `revision` has been delivered.
///
/// All changes of one revision are in one batch, so that no watcher sees part of a transaction. A batch without changes
/// only reports progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// The revision of all its changes, or the progress of the watch.
    pub revision: Revision,
    /// The changes, ordered by key. Each key occurs once.
    pub changes: Vec<Change>,
}

/// One write as a watcher sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The key that was written.
    pub key: String,
    /// The new value, or `None` for a deletion.
    pub value: Option<Arc<[u8]>>,
}

/// Why a store operation failed. Nothing was changed, except where `Unavailable` says that this is unknown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The current state of this key is not the expected one.
    #[error("the record has changed since it was read")]
    Conflict {
        /// The key of the first comparison that failed.
        key: String,
    },
    /// A key, a value or the whole transaction is larger than the store accepts.
    #[error("the record is too large: {bytes} bytes where {limit} are allowed")]
    TooLarge {
        /// The size, in bytes.
        bytes: usize,
        /// The maximum size, in bytes.
        limit: usize,
    },
    /// The transaction has more comparisons or writes than the store accepts.
    #[error("the transaction is too large: {count} operations where {limit} are allowed")]
    TooMany {
        /// The number of comparisons or of writes, whichever is larger.
        count: usize,
        /// The maximum number.
        limit: usize,
    },
    /// The changes since that revision are no longer kept: list again, and watch from that revision.
    #[error("changes since that revision are no longer kept")]
    Compacted,
    /// The store is temporarily unavailable. Whether a write that failed with this error was stored is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// The storage of registrations, resources, revocations and keys.
///
/// Read-your-writes holds within one process: a `get` or `list` after an acknowledged write shows it.
///
/// A value with an expiry is absent from that time on, for reads and for comparisons. It is deleted soon after, and
/// watchers receive this like any deletion, unless the key has been written again before.
pub trait Store: fmt::Debug + Send + Sync {
    /// The value at `key`, or `None`.
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>>;

    /// All entries whose keys start with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing>;

    /// The entries under a prefix whose keys come after `after`, at most `limit` of them: for what would take much memory at
    /// once. Each part is of its own revision. A store that reads them together returns all of them.
    fn list_part<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, ListingPart> {
        let _ = limit;
        Box::pin(async move {
            let mut listing = self.list(prefix).await?;
            listing.entries.retain(|(key, _)| key.as_str() > after);
            Ok(ListingPart { listing, more: false })
        })
    }

    /// At most `limit` keys that come after `after`, without their values: for a comparison with what a watch delivered.
    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions>;

    /// Applies all writes of a transaction if all its comparisons hold, and returns their revision once they are
    /// durable. If nothing changes, returns the store's revision.
    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision>;

    /// Writes `value` at `key` if its current state is the expected one.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>, expected: Expected) -> StoreFuture<'a, Revision> {
        self.transact(Transaction::default().compare(key, expected).put(key, value))
    }

    /// Deletes `key` if its current state is the expected one. Deleting a key that does not exist is a conflict, except
    /// with [`Expected::Any`] and [`Expected::Absent`], which then change nothing and return the store's revision.
    fn delete<'a>(&'a self, key: &'a str, expected: Expected) -> StoreFuture<'a, Revision> {
        self.transact(Transaction::default().compare(key, expected).delete(key))
    }

    /// Every change after `from` to a key under `prefix`, in order and without gaps: first the existing changes, then
    /// new ones as they are acknowledged. A working watch delivers a batch at least every second; if there are no
    /// changes, an empty one.
    fn watch(&self, prefix: &str, from: Revision) -> Watch;

    /// Of a store that follows another server: the moment, of [`Clock::elapsed`], up to which what it has delivered contains
    /// every change. `None` of a store that proves this by delivering.
    ///
    /// [`Clock::elapsed`]: crate::authority::clock::Clock::elapsed
    fn delivered_until(&self) -> Option<Duration> {
        None
    }

    /// Whether the store accepts writes. In an embedded store a failure lasts until the process is restarted.
    ///
    /// # Errors
    /// The cause of the failure, as [`StoreError::Unavailable`].
    fn health(&self) -> Result<(), StoreError>;
}
