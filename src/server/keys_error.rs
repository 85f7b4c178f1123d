//! Why there are no signing keys.

use crate::authority::keys::InvalidPrivateKey;
use crate::authority::keys::KeyRecordError;
use crate::authority::store::StoreError;

/// Why there are no signing keys. A key that cannot be opened is never replaced by a new one, because issued tokens and
/// the JWKS of all relying parties depend on it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A stored key cannot be opened.
    #[error("{key}: {error}")]
    Record {
        /// The record's key in the store.
        key: String,
        /// The error of opening it.
        error: KeyRecordError,
    },
    /// A new key could not be made.
    #[error("a new signing key cannot be made: {0}")]
    NotMade(#[from] InvalidPrivateKey),
    /// A new key could not be sealed.
    #[error("a new signing key cannot be sealed: {0}")]
    Sealing(KeyRecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
