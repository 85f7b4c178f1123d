//! What can be revoked, and why a revocation is refused.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::store::StoreError;

/// The subject of a revocation.
#[derive(Clone, Debug)]
pub enum RevokeRequest {
    /// A token, by its text. One that this server did not issue, or that is no longer valid, needs no revocation (RFC
    /// 7009 section 2.2).
    Token(String),
    /// A token, by its `jti`.
    TokenId(String),
    /// A client, until the revocation is lifted or `until` has passed.
    Client(ClientId, Option<Timestamp>),
    /// A certificate, likewise; `until` is ideally its notAfter.
    Certificate(CertificateThumbprint, Option<Timestamp>),
    /// All tokens that were issued to a client up to now.
    IssuedTo(ClientId),
}

/// Why a revocation is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(RevokeErrorCode),
    doc = "The codes of [`RevokeError`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum RevokeError {
    /// The token is another client's, and only an admin may revoke another client's token.
    #[error("only an admin may revoke what is not the caller's own token")]
    NotYours,
    /// The `jti` is malformed.
    #[strum_discriminants(strum(serialize = "INVALID_REQUEST"))]
    #[error("the token identifier is malformed")]
    Malformed,
    /// The revocation of a token cannot be lifted.
    #[error("only the revocation of a client or a certificate can be lifted")]
    NotLiftable,
    /// The store does not answer, so it is unknown whether the revocation was stored.
    #[strum_discriminants(strum(serialize = "REVOCATION_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl RevokeError {
    /// The fixed code of the error.
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
