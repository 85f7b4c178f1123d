//! Why the store could not be read at startup.

use crate::authority::store::Revision;
use crate::authority::store::StoreError;

/// Why the store could not be read at startup.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has lost what was in it.
    #[error(
        "the store is at revision {}, but was at {} before: it was replaced by older data. Restart every replica",
        found.0,
        known.0
    )]
    WentBack {
        /// The revision up to which the store was followed.
        known: Revision,
        /// The store's revision.
        found: Revision,
    },
    /// A record cannot be read.
    #[error("record {key}: {problem}")]
    Record {
        /// The record's key in the store.
        key: String,
        /// The error in the record.
        problem: String,
    },
}
