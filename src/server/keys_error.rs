//! Why there are no keys.

use crate::authority::decision::KeyChangeError;
use crate::authority::keys::KeyRecordError;
use crate::authority::keys::ReceiptKeysError;
use crate::authority::keys::SigningFailed;
use crate::authority::store::StoreError;

/// Why there are no signing keys, or no receipt keys. A key that cannot be opened is never replaced by a new one, because issued tokens and
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
    /// A key that signs, or is to sign next, is not in the token.
    #[error("/keys/{kid}: {error}")]
    NotInToken {
        /// The `kid` of the key.
        kid: String,
        /// Why it did not sign.
        error: SigningFailed,
    },
    /// There is no key that signs, and none could be made.
    #[error("there is no signing key that signs: {0}")]
    NotMade(#[from] KeyChangeError),
    /// The receipt keys cannot be used.
    #[error(transparent)]
    Receipts(ReceiptKeysError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
