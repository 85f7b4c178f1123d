//! The Store port: five verbs over versioned bytes.
//!
//! Keys are paths such as `/clients/checkout`; values are JSON with a schema number, which the authority writes and
//! reads and the store never looks into. A write is acknowledged only when it will survive a power cut.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;

/// The most bytes that one value may have.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The most bytes that one key may have.
pub const MAX_KEY_BYTES: usize = 4 * 1024;

/// What a store verb returns: nothing here blocks the thread that polls it.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Changes in the order of their revisions. An error ends the stream: list again, and watch from there.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<Change, StoreError>> + Send>>;

/// The place of a write in the one order of all writes. It only grows, also over restarts, and a deletion has one too.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// A value and the revision of the write that made it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was written.
    pub revision: Revision,
}

/// What a write demands of the present state of its key; otherwise it is a [`StoreError::Conflict`] and changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Whatever stands there, or nothing.
    Any,
    /// Nothing stands there.
    Absent,
    /// What stands there was written at exactly this revision.
    At(Revision),
}

/// All entries under a prefix, in the order of their keys, as they stood at one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// Key and value of each entry.
    pub entries: Vec<(String, Versioned<Arc<[u8]>>)>,
    /// The store's revision at that moment: watch from here to miss nothing.
    pub revision: Revision,
}

/// One write as a watcher sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which key.
    pub key: String,
    /// The new value, or `None` for a deletion.
    pub value: Option<Arc<[u8]>>,
    /// When.
    pub revision: Revision,
}

/// Why a store verb failed. Nothing was changed, except where `Unavailable` says that this is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The key's present state is not the expected one.
    #[error("the record has changed since it was read")]
    Conflict,
    /// The key or the value is larger than the store takes.
    #[error("the record is too large: {bytes} bytes where {limit} are allowed")]
    TooLarge {
        /// How large it was.
        bytes: usize,
        /// How large it may be.
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
pub trait Store: fmt::Debug + Send + Sync {
    /// The value at `key`, or `None`.
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>>;

    /// All entries whose keys start with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing>;

    /// Writes `value` at `key` if its present state is the expected one, and returns the write's revision once it is durable.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>, expected: Expected) -> StoreFuture<'a, Revision>;

    /// Deletes `key` if its present state is the expected one. Deleting what is not there is a conflict, except with
    /// [`Expected::Any`] and [`Expected::Absent`], which then change nothing and return the store's revision.
    fn delete<'a>(&'a self, key: &'a str, expected: Expected) -> StoreFuture<'a, Revision>;

    /// Every change after `from`, in order, without gaps; first those already made, then new ones as they are acknowledged.
    fn watch(&self, from: Revision) -> ChangeStream;

    /// Whether writes can be taken. Once this fails in an embedded store it fails until the process is started again.
    ///
    /// # Errors
    /// What stopped the store, as [`StoreError::Unavailable`].
    fn health(&self) -> Result<(), StoreError>;
}
