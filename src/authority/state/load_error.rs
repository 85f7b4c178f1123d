//! Why the store could not be read at start.

use crate::authority::store::StoreError;

/// Why the store could not be read at start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error("record {key}: {problem}")]
    Record {
        /// Its key in the store.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}
