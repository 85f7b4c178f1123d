//! Why a certificate proves no peer.

use crate::authority::identity::InvalidCertificate;

/// Why a certificate was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(UnprovenCode),
    doc = "The codes of [`Unproven`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum Unproven {
    /// No certificate, too many, or too many bytes of them.
    #[error("the certificate chain is empty or larger than is looked at")]
    ChainSize,
    /// The certificate cannot be read.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
    /// notAfter has passed.
    #[error("the certificate has expired")]
    Expired,
    /// notBefore has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A certificate with a SPIFFE ID has another URI SAN too (X509-SVID section 2).
    #[error("an X509-SVID has exactly one URI SAN")]
    SeveralUris,
    /// Its only URI SAN is not a well-formed SPIFFE ID with a path (SPIFFE-ID section 2, X509-SVID section 5.2).
    #[error("the URI SAN is not a SPIFFE ID of a workload")]
    InvalidSpiffeId,
    /// A CA, or a certificate whose key may sign others (X509-SVID sections 4.1 and 4.3).
    #[error("a CA certificate does not authenticate a peer")]
    SigningCertificate,
    /// keyUsage is missing, not critical, or without digitalSignature; or extendedKeyUsage lacks what it must have.
    #[error("the certificate's key usage does not allow it to authenticate a peer")]
    KeyUsage,
    /// The subject is empty and the subject alternative name not critical (X509-SVID section 3.1).
    #[error("the subject alternative name must be critical where the subject is empty")]
    NamesNotCritical,
    /// No bundle is known for the trust domain of the SPIFFE ID.
    #[error("the trust domain is not known")]
    UnknownTrustDomain,
    /// The bundle has not been confirmed for too long.
    #[error("the bundle of the trust domain has not been confirmed for too long")]
    StaleBundle,
    /// No path from the SVID to the bundle of its trust domain.
    #[error("the certificate has no path to the bundle of its trust domain")]
    NoPath,
    /// The certificate has been revoked here.
    #[error("the certificate has been revoked")]
    Revoked,
    /// Not an SVID, no path to a client CA, and not registered as it is.
    #[error("the certificate is not from a known CA and not registered")]
    Unknown,
}

impl Unproven {
    /// The fixed code, in metrics and the log.
    pub fn code(self) -> &'static str {
        UnprovenCode::from(self).into()
    }
}
