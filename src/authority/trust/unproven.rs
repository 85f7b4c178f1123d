//! Why a certificate does not prove a peer.

use crate::authority::identity::InvalidCertificate;

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(UnprovenCode),
    doc = "The codes of [`Unproven`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum Unproven {
    /// There is no certificate, or there are too many, or they have too many bytes.
    #[error("the certificate chain is empty or too large")]
    ChainSize,
    /// The certificate cannot be parsed.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
    /// notAfter has passed.
    #[error("the certificate has expired")]
    Expired,
    /// notBefore has not been reached.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A certificate with a SPIFFE ID has another URI SAN too (X509-SVID section 2).
    #[error("an X509-SVID has exactly one URI SAN")]
    SeveralUris,
    /// Its only URI SAN is not a well-formed SPIFFE ID with a path (SPIFFE-ID section 2, X509-SVID section 5.2).
    #[error("the URI SAN is not a SPIFFE ID of a workload")]
    InvalidSpiffeId,
    /// The certificate is a CA, or its key may sign others (X509-SVID sections 4.1 and 4.3).
    #[error("a CA certificate does not authenticate a peer")]
    SigningCertificate,
    /// keyUsage is missing, not critical, or without digitalSignature; or extendedKeyUsage lacks a required purpose.
    #[error("the certificate's key usage does not allow it to authenticate a peer")]
    KeyUsage,
    /// The subject is empty and the subject alternative name not critical (X509-SVID section 3.1).
    #[error("the subject alternative name must be critical where the subject is empty")]
    NamesNotCritical,
    /// There is no bundle for the trust domain of the SPIFFE ID.
    #[error("the trust domain is not known")]
    UnknownTrustDomain,
    /// The bundle has not been confirmed for too long.
    #[error("the bundle of the trust domain has not been confirmed for too long")]
    StaleBundle,
    /// There is no path from the SVID to the bundle of its trust domain.
    #[error("the certificate has no path to the bundle of its trust domain")]
    NoPath,
    /// The certificate has been revoked at this server.
    #[error("the certificate has been revoked")]
    Revoked,
    /// The identity that the certificate proves has been revoked at this server: its SPIFFE ID, its client, its trust
    /// domain, or a role that it holds.
    #[error("the identity that the certificate proves has been revoked")]
    IdentityRevoked,
    /// The certificate is not an SVID, has no path to a client CA, and is not registered.
    #[error("the certificate is not from a known CA and is not registered")]
    Unknown,
}

impl Unproven {
    /// The fixed code in metrics and the log.
    pub fn code(self) -> &'static str {
        UnprovenCode::from(self).into()
    }
}
