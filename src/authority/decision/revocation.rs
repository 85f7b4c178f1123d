//! What can be revoked, and why a revocation is refused.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::store::StoreError;

/// What is to be revoked.
#[derive(Clone, Debug)]
pub enum RevokeRequest {
    /// A token, by its text. One that is not ours, or no longer good, needs no revoking (RFC 7009 section 2.2).
    Token(String),
    /// A token, by its `jti`.
    TokenId(String),
    /// A client, until the revocation is lifted or `until` has passed.
    Client(ClientId, Option<Timestamp>),
    /// A certificate, likewise; `until` is at best its notAfter.
    Certificate(CertificateThumbprint, Option<Timestamp>),
    /// Everything that a client was issued up to now.
    IssuedTo(ClientId),
}

/// Why something was not revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(RevokeErrorCode),
    doc = "The codes of [`RevokeError`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum RevokeError {
    /// The token is another client's, and only an admin revokes what is not its own.
    #[error("only an admin may revoke what is not the caller's own token")]
    NotYours,
    /// The jti is not one.
    #[strum_discriminants(strum(serialize = "INVALID_REQUEST"))]
    #[error("the token identifier is malformed")]
    Malformed,
    /// A token cannot be revived.
    #[error("only the revocation of a client or a certificate can be lifted")]
    NotLiftable,
    /// The store does not answer: whether it is revoked is not known.
    #[strum_discriminants(strum(serialize = "REVOCATION_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl RevokeError {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        RevokeErrorCode::from(self).into()
    }
}

impl From<StoreError> for RevokeError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a revocation");
        Self::Unavailable
    }
}
