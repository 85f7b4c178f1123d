//! Why there are no signing keys.

use crate::authority::keys::SealError;
use crate::authority::keys::UnusableKey;
use crate::authority::store::StoreError;
use crate::signer::local::InvalidPrivateKey;

/// Why there are no signing keys. A key that does not open is never replaced by a new one: the tokens and the JWKS of all
/// relying parties hang on it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A stored key cannot be opened.
    #[error("{key}: {error}")]
    Sealed {
        /// Its key in the store.
        key: String,
        /// Why.
        error: SealError,
    },
    /// A record is not at its own place.
    #[error("{0}: the record is another key's")]
    Misplaced(String),
    /// What is sealed is no key.
    #[error(transparent)]
    Invalid(#[from] InvalidPrivateKey),
    /// The key cannot be published.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// A new key could not be sealed.
    #[error("a new signing key cannot be sealed: {0}")]
    Sealing(SealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
