//! The reasons to deny a use of a token, with the codes that every protocol returns.

/// Why a use of a token was denied, in the order in which the conditions are checked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, strum::IntoStaticStr, strum::VariantArray, thiserror::Error)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum DenyReason {
    /// The token is not a JWS with the header and claims of an access token (RFC 9068).
    #[error("the token is not a well-formed access token")]
    TokenMalformed,
    /// The token is another kind of JWT (RFC 8725 section 3.12).
    #[error("the token is not of the type at+jwt")]
    TokenType,
    /// No key of this server has the token's `kid`, or the algorithm is not the key's.
    #[error("the token was not signed with a key and algorithm of this server")]
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
    /// The `nbf` claim is in the future.
    #[error("the token is not yet valid")]
    TokenNotYetValid,
    /// The client is not registered.
    #[error("the token's client is not registered")]
    ClientUnknown,
    /// The client is disabled.
    #[error("the token's client is disabled")]
    ClientDisabled,
    /// The record of the client cannot be read by this version, which suspends it.
    #[error("the record of the token's client is one that this version of the server cannot read")]
    ClientSuspended,
    /// The token was issued to an earlier registration of the client.
    #[error("the token was issued to an earlier registration of its client")]
    ClientRecreated,
    /// The token was issued before the client's method, subject, certificates or client CA changed.
    #[error("the client's authentication has changed since the token was issued")]
    AuthenticationChanged,
    /// The client CA that vouches for the client is no longer configured.
    #[error("the client CA of the token's client is no longer configured")]
    ClientCaRemoved,
    /// The trust domain of the client has no bundle that is in effect.
    #[error("the trust domain of the token's client has no bundle that is in effect")]
    TrustDomainUntrusted,
    /// The issuer of the client's assertions is no longer configured, or its keys have not been confirmed for too long.
    #[error("the issuer that vouches for the token's client is not trusted at present")]
    IssuerUntrusted,
    /// The token was revoked, alone or together with all tokens of its client.
    #[error("the token has been revoked")]
    TokenRevoked,
    /// The client is revoked.
    #[error("the token's client has been revoked")]
    ClientRevoked,
    /// The SPIFFE ID of the token's holder, or of the certificate, is revoked: alone, with a path above it, with its
    /// trust domain, or with a role that it holds.
    #[error("the identity of the token's holder, or of the certificate, has been revoked")]
    IdentityRevoked,
    /// The certificate that the token is bound to, the presented one, or one between them in their lineage is revoked.
    #[error("the certificate that the token is bound to, or one that follows it, has been revoked")]
    CertificateRevoked,
    /// A token that it comes from no longer counts: it was revoked, or its client, its certificate or its registration is no
    /// longer what it was.
    #[error("a token that the token was exchanged for no longer counts")]
    DelegationBroken,
    /// The `aud` claim names another audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The protected resource was deleted, and neither registered again nor forgotten.
    #[error("the resource that the token is for was deleted")]
    ResourceDeleted,
    /// The record of the protected resource cannot be read by this version, which suspends it.
    #[error("the record of the resource is one that this version of the server cannot read")]
    ResourceSuspended,
    /// The token is a delegated one, and the resource takes none.
    #[error("the resource takes no delegated tokens")]
    DelegationNotAccepted,
    /// The resource takes no delegated tokens of this holder, or none with so many actors.
    #[error("the resource takes no delegated tokens of the token's holder, or none with so many actors")]
    ActorNotAccepted,
    /// The token's workload, or its subject, belongs to a trust domain that the resource does not accept.
    #[error("the resource accepts no workloads of the token's trust domain")]
    TrustDomainNotAccepted,
    /// The token has no confirmation by certificate (`x5t#S256` of RFC 8705 section 3.1).
    #[error("the token is not bound to a certificate")]
    NotBound,
    /// No evidence of the certificate was presented.
    #[error("no evidence of the certificate that the token came with")]
    EvidenceMissing,
    /// The grade of the evidence is lower than the resource accepts.
    #[error("the evidence of the certificate is weaker than the resource accepts")]
    EvidenceTooWeak,
    /// The certificate's notAfter is in the past.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The certificate's notBefore is in the future.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid,
    /// The certificate is another one of the same SPIFFE ID, most likely its renewal, and the client's rotation does not
    /// accept it.
    #[error("the token is bound to another certificate of the same SPIFFE ID, as after a renewal: get a new token")]
    CertificateRenewed,
    /// The token is bound to another certificate, which is not known to be of the same workload.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// The certificate is a successor of the one that the token is bound to, but is no longer accepted as one.
    #[error("the certificate succeeds the one that the token is bound to, but too long ago or too many times removed")]
    LineageOver,
    /// Only an identity was presented where a certificate is required.
    #[error("the client's rotation does not go by identity, and a SPIFFE ID alone does not tell its certificate")]
    RotationStrict,
    /// The token lacks a required scope.
    #[error("the token lacks a scope that this use needs")]
    InsufficientScope,
}

impl DenyReason {
    /// The fixed code, the same in every protocol.
    pub fn code(self) -> &'static str {
        self.into()
    }
}
