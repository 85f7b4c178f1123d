//! Why there are no receipt keys.

use crate::authority::clock::NoEntropy;
use crate::authority::keys::sealer::KeyRecordError;
use crate::authority::store::StoreError;

/// Why there are no receipt keys.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptKeysError {
    /// A stored key cannot be opened.
    #[error("{key}: {error}")]
    Record {
        /// The record's key in the store.
        key: String,
        /// The error of opening it.
        error: KeyRecordError,
    },
    /// There was a key, and there is none.
    #[error(
        "the keys of receipts are gone from the store: restore it from a backup, or start once with `exchange.enabled: false`, which \
         forgets them, so that new ones are made"
    )]
    Lost,
    /// No key could be made.
    #[error("no key of receipts can be made: {0}")]
    NotMade(#[from] NoEntropy),
    /// A key cannot be sealed.
    #[error("a key of receipts cannot be sealed: {0}")]
    NotSealed(#[from] KeyRecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
