//! What becomes of a request to change the signing keys, and why one is refused.

use crate::authority::keys::KeyRecordError;
use crate::authority::keys::StoredKey;
use crate::authority::records::Held;
use crate::authority::store::StoreError;

/// The longest reason of a revocation, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// What became of a request to rotate.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The key that is to sign next.
    pub next: StoredKey,
    /// Whether it was the next key already.
    pub was_pending: bool,
}

/// What became of a request to revoke a key.
#[derive(Clone, Debug)]
pub struct KeyRevoked {
    /// The revoked key.
    pub revoked: StoredKey,
    /// Whether it was revoked before; the first revocation stays as it was.
    pub was_revoked: bool,
    /// The key that signs now, if another one did before.
    pub replaced_by: Option<StoredKey>,
}

/// What became of a request to seal the keys anew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// How many keys were sealed under the present key-encryption key.
    pub resealed: usize,
    /// How many were sealed under it before.
    pub already: usize,
}

/// Why a change of the signing keys is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(KeyChangeErrorCode),
    doc = "The codes of [`KeyChangeError`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum KeyChangeError {
    /// There is no key with this `kid`.
    #[strum_discriminants(strum(serialize = "KEY_NOT_FOUND"))]
    #[error("there is no signing key with this kid")]
    NotFound,
    /// The reason of a revocation is missing, or too long.
    #[strum_discriminants(strum(serialize = "INVALID_REQUEST"))]
    #[error("reason: must be given, in at most {MAX_REASON_BYTES} bytes")]
    Reason,
    /// A record cannot be read or opened, so that nothing is changed.
    #[strum_discriminants(strum(serialize = "KEY_UNREADABLE"))]
    #[error("a signing key in the store cannot be read or opened")]
    Unreadable,
    /// No new key could be made.
    #[strum_discriminants(strum(serialize = "KEY_NOT_MADE"))]
    #[error("a new signing key cannot be made")]
    NotMade,
    /// Others changed the keys at the same time, again and again.
    #[strum_discriminants(strum(serialize = "KEYS_CHANGED"))]
    #[error("the signing keys were changed at the same time")]
    Contended,
    /// A second admin has to approve it.
    #[strum_discriminants(strum(serialize = "PROPOSED"))]
    #[error(transparent)]
    Held(Held),
    /// The store does not answer, so that it is not known whether the change was made.
    #[strum_discriminants(strum(serialize = "KEYS_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl KeyChangeError {
    /// The fixed code of the error.
    pub fn code(self) -> &'static str {
        if let Self::Held(held) = self { held.code() } else { KeyChangeErrorCode::from(self).into() }
    }

    /// Logs which record cannot be used, and why.
    pub(in crate::authority) fn unreadable(key: &str, error: KeyRecordError) -> Self {
        tracing::error!(%error, key, "the record of a signing key cannot be used");
        Self::Unreadable
    }
}

impl From<StoreError> for KeyChangeError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a change of the signing keys");
        Self::Unavailable
    }
}
