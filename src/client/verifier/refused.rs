//! Why a use of a token is refused.

use std::time::Duration;

/// Why a use of a token is refused, in the order in which it is looked at. The codes are those that a server gives as the reasons
/// of its denials, where they mean the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The revocations and keys were not confirmed for longer than the bound, or never: they may lack a revocation.
    #[error("{}", stale(*age))]
    Stale {
        /// How old they may be; `None` where they have not been received yet.
        age: Option<Duration>,
    },
    /// The token is not a JWS with the header and claims of an access token (RFC 9068).
    #[error("the token is not a well-formed access token")]
    TokenMalformed,
    /// The token is another kind of JWT (RFC 8725 section 3.12).
    #[error("the token is not of the type at+jwt")]
    TokenType,
    /// No key has the token's `kid`, or the algorithm is not the key's; or the key was revoked.
    #[error("the token was not signed with a key and algorithm of the server")]
    UnknownKey,
    /// The signature does not verify with the key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The `iss` claim names another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The `exp` claim is in the past.
    #[error("the token has expired")]
    TokenExpired,
    /// The `nbf` or the `iat` claim is in the future.
    #[error("the token is not yet valid")]
    TokenNotYetValid,
    /// The token was revoked, alone or with others that were issued up to some moment.
    #[error("the token has been revoked")]
    TokenRevoked,
    /// The client is revoked.
    #[error("the token's client has been revoked")]
    ClientRevoked,
    /// The SPIFFE ID of the token's holder, or of the certificate, is revoked: alone, with a path above it, or with its trust
    /// domain.
    #[error("the identity of the token's holder, or of the certificate, has been revoked")]
    IdentityRevoked,
    /// The certificate is revoked.
    #[error("the certificate that the token is bound to, or the presented one, has been revoked")]
    CertificateRevoked,
    /// A token that it was exchanged for, directly or not, was revoked, or its client or certificate.
    #[error("a token that the token was exchanged for no longer counts")]
    DelegationBroken,
    /// The `aud` claim names other audiences.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The token is a delegated one, and these are not accepted.
    #[error("the resource takes no delegated tokens")]
    DelegationNotAccepted,
    /// The token has no confirmation by certificate (`x5t#S256` of RFC 8705 section 3.1).
    #[error("the token is not bound to a certificate")]
    NotBound,
    /// The token has another confirmation besides, which is not understood.
    #[error("the token's use asks for another proof besides the certificate")]
    UnknownConfirmation,
    /// The presented certificate cannot be read.
    #[error("the presented certificate cannot be read")]
    EvidenceMalformed,
    /// The certificate's notAfter is in the past.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The certificate's notBefore is in the future.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid,
    /// The certificate is another one with the same SPIFFE ID, most likely a later one. Whether the client's rotation accepts it
    /// is not known here.
    #[error("the token is bound to another certificate of the same SPIFFE ID, as after a renewal: get a new token")]
    CertificateRenewed,
    /// The token is bound to another certificate.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// The token lacks a required scope.
    #[error("the token lacks a scope that this use needs")]
    InsufficientScope,
}

impl Refused {
    /// The fixed code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stale { .. } => "SNAPSHOT_STALE",
            Self::TokenMalformed => "TOKEN_MALFORMED",
            Self::TokenType => "TOKEN_TYPE",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::BadSignature => "BAD_SIGNATURE",
            Self::WrongIssuer => "WRONG_ISSUER",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenNotYetValid => "TOKEN_NOT_YET_VALID",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::ClientRevoked => "CLIENT_REVOKED",
            Self::IdentityRevoked => "IDENTITY_REVOKED",
            Self::CertificateRevoked => "CERTIFICATE_REVOKED",
            Self::DelegationBroken => "DELEGATION_BROKEN",
            Self::WrongAudience => "WRONG_AUDIENCE",
            Self::DelegationNotAccepted => "DELEGATION_NOT_ACCEPTED",
            Self::NotBound => "NOT_BOUND",
            Self::UnknownConfirmation => "UNKNOWN_CONFIRMATION",
            Self::EvidenceMalformed => "EVIDENCE_MALFORMED",
            Self::CertificateExpired => "CERTIFICATE_EXPIRED",
            Self::CertificateNotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::CertificateRenewed => "CERTIFICATE_RENEWED",
            Self::CertificateMismatch => "CERTIFICATE_MISMATCH",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
        }
    }

    /// Whether it says nothing about the token: the same use may be allowed, or denied, later.
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

fn stale(age: Option<Duration>) -> String {
    age.map_or_else(
        || "the revocations have not been received yet".to_owned(),
        |age| format!("the revocations may be {} seconds old, which is too old to decide", age.as_secs()),
    )
}
