//! Why the store could not be read at startup.

use crate::authority::store::StoreError;

/// Why the store could not be read at startup.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error("record {key}: {problem}")]
    Record {
        /// The record's key in the store.
        key: String,
        /// The error in the record.
        problem: String,
    },
}
