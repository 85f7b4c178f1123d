//! Why a use of a token is denied: the codes of every protocol.

/// Why a use was denied, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, strum::IntoStaticStr, strum::VariantArray, thiserror::Error)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum DenyReason {
    /// No JWS with an access token's header and claims.
    #[error("the token is not a well-formed access token")]
    TokenMalformed,
    /// Another kind of JWT (RFC 8725 section 3.12).
    #[error("the token is not of the type at+jwt")]
    TokenType,
    /// No key of ours, or another algorithm than the key's.
    #[error("the token was not signed with a key and algorithm of this server")]
    UnknownKey,
    /// Not the key's signature.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// Past exp.
    #[error("the token has expired")]
    TokenExpired,
    /// Before nbf.
    #[error("the token is not good yet")]
    TokenNotYetValid,
    /// No such client.
    #[error("the token's client is not registered")]
    ClientUnknown,
    /// A disabled client.
    #[error("the token's client is disabled")]
    ClientDisabled,
    /// An earlier registration's token.
    #[error("the token was issued to an earlier registration of its client")]
    ClientRecreated,
    /// Revoked by itself, or with all that its client had been issued.
    #[error("the token has been revoked")]
    TokenRevoked,
    /// Its client is revoked.
    #[error("the token's client has been revoked")]
    ClientRevoked,
    /// The certificate that it is bound to is revoked.
    #[error("the certificate that the token is bound to has been revoked")]
    CertificateRevoked,
    /// Another audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// A workload of a trust domain that the resource does not accept.
    #[error("the resource accepts no workloads of the token's trust domain")]
    TrustDomainNotAccepted,
    /// No confirmation by certificate.
    #[error("the token is not bound to a certificate")]
    NotBound,
    /// Nothing known of the certificate.
    #[error("no evidence of the certificate that the token came with")]
    EvidenceMissing,
    /// Less known of the certificate than the resource accepts.
    #[error("the evidence of the certificate is weaker than the resource accepts")]
    EvidenceTooWeak,
    /// The certificate's notAfter has passed.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The certificate's notBefore has not come.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid,
    /// Another certificate.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// A successor of the certificate that it is bound to, but not any more.
    #[error("the certificate succeeds the one that the token is bound to, but too long ago or too many times removed")]
    LineageOver,
    /// An identity where a certificate is wanted.
    #[error("the client's rotation does not go by identity, and a SPIFFE ID alone does not tell its certificate")]
    RotationStrict,
    /// A scope is missing.
    #[error("the token lacks a scope that this use needs")]
    InsufficientScope,
}

impl DenyReason {
    /// The fixed code, the same in every protocol.
    pub fn code(self) -> &'static str {
        self.into()
    }
}
