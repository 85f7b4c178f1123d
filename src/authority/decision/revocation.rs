//! What can be revoked, what is answered, and why a revocation is refused.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::records::Held;
use crate::authority::registration::ClientId;
use crate::authority::state::Revoked;
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
    /// The SPIFFE IDs below a path, a trust domain or the holders of a role, likewise.
    Peers(Revoked, Option<Timestamp>),
}

/// Whether a revocation may leave no admin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastAdmin {
    /// It is refused if it would.
    Stays,
    /// It may.
    MayGo,
}

/// What became of a request to revoke or to lift.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RevokeOutcome {
    /// What the caller should know although the request was carried out.
    pub warnings: Vec<RevokeWarning>,
    /// When the revocation ends. `None` where it has no end, or there is none.
    pub until: Option<Timestamp>,
}

/// What a caller should know about a revocation that was carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevokeWarning {
    /// Nothing that this server knows has this name. It is revoked all the same.
    UnknownTarget,
    /// It was revoked before, until a later time, and that revocation stays as it is.
    LaterEndKept,
    /// The caller had revoked as many tokens as it may, so that all tokens bound to its certificate that were issued up to
    /// now are revoked, the one that it named among them.
    AllOfCertificate,
    /// There was no revocation to lift.
    NotRevoked,
    /// The token was not issued by this server or is not valid any more, so there was nothing to revoke.
    TokenNotValid,
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
    /// The token is another client's, and only an admin or a revoker may revoke another client's token.
    #[error("only an admin or a revoker may revoke what is not the caller's own token")]
    NotYours,
    /// A revoker revokes, and what it lifted would be open again.
    #[error("only an admin may lift a revocation")]
    OnlyAdminsLift,
    /// The `jti` is malformed.
    #[strum_discriminants(strum(serialize = "INVALID_REQUEST"))]
    #[error("the token identifier is malformed")]
    Malformed,
    /// The revocation would have ended already.
    #[strum_discriminants(strum(serialize = "INVALID_REQUEST"))]
    #[error("the end of the revocation is not in the future")]
    EndPassed,
    /// The revocation of a token cannot be lifted.
    #[error("only the revocation of a client, a certificate, a path, a trust domain or a role can be lifted")]
    NotLiftable,
    /// The revocation would leave no admin, who could lift it. Only an admin may mean that.
    #[error("the revocation would leave no admin")]
    LastAdmin,
    /// The caller has revoked as many tokens as it may, and the token is bound to another certificate than the caller's, or
    /// to none.
    #[error("the caller has revoked as many tokens as it may, and this one is not bound to the caller's certificate")]
    QuotaExceeded,
    /// A second admin has to approve what lifts it.
    #[strum_discriminants(strum(serialize = "PROPOSED"))]
    #[error(transparent)]
    Held(Held),
    /// The store does not answer, so it is unknown whether the revocation was stored.
    #[strum_discriminants(strum(serialize = "REVOCATION_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl RevokeError {
    /// The fixed code of the error.
    pub fn code(self) -> &'static str {
        if let Self::Held(held) = self { held.code() } else { RevokeErrorCode::from(self).into() }
    }
}

impl From<StoreError> for RevokeError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a revocation");
        Self::Unavailable
    }
}
