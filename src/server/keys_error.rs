//! Why there are no signing keys.

use crate::authority::keys::SealError;
use crate::authority::keys::UnusableKey;
use crate::authority::store::StoreError;
use crate::signer::local::InvalidPrivateKey;

/// Why there are no signing keys. A key that cannot be opened is never replaced by a new one, because issued tokens and
/// the JWKS of all relying parties depend on it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A stored key cannot be opened.
    #[error("{key}: {error}")]
    Sealed {
        /// The record's key in the store.
        key: String,
        /// The error of opening it.
        error: SealError,
    },
    /// The record is stored under another key's name.
    #[error("{0}: the record belongs to another key")]
    Misplaced(String),
    /// The sealed bytes are not a key.
    #[error(transparent)]
    Invalid(#[from] InvalidPrivateKey),
    /// The public key cannot be published.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// A new key could not be sealed.
    #[error("a new signing key cannot be sealed: {0}")]
    Sealing(SealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
