//! Why a certificate does not prove a peer.

use crate::authority::identity::InvalidCertificate;
use crate::authority::trust::extension_oid::ExtensionOid;

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
    /// keyUsage is missing, not critical, or without digitalSignature.
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
    /// extendedKeyUsage is present without clientAuth, or in an X509-SVID without one of both (X509-SVID section 4.4).
    #[error(
        "the certificate's extendedKeyUsage lacks a purpose: a client needs clientAuth, an X509-SVID serverAuth too"
    )]
    ExtendedKeyUsage,
    /// A leaf of X.509 version 1 or 2 has none of the extensions that say what it is for.
    #[error("the certificate is of X.509 version 1 or 2, which only a root may be")]
    UnsupportedVersion,
    /// The key of the leaf or of an issuer is of a kind, a curve or a size that is not supported.
    #[error("a key in the certificate chain is of a kind or size that is not supported")]
    UnsupportedKey,
    /// A certificate of the path is signed with an algorithm that is not supported, such as SHA-1.
    #[error("a certificate in the chain is signed with an algorithm that is not supported")]
    UnsupportedSignature,
    /// A critical extension is not processed (RFC 5280 section 4.2).
    #[error("a certificate in the chain has a critical extension that is not supported: {0}")]
    CriticalExtension(ExtensionOid),
    /// An issuer's basicConstraints lacks cA (RFC 5280 section 6.1.4 k).
    #[error("a certificate in the chain is not a CA's, so it issues no others")]
    IssuerNotCa,
    /// An issuer's keyUsage lacks keyCertSign (RFC 5280 section 6.1.4 n), or for SVIDs is missing (X509-SVID section
    /// 4.3).
    #[error("a CA in the certificate chain lacks keyCertSign in its keyUsage")]
    IssuerKeyUsage,
    /// An issuer's extendedKeyUsage is present without the purpose.
    #[error("a CA in the certificate chain is limited to other uses by its extendedKeyUsage")]
    IssuerExtendedKeyUsage,
    /// An issuer has a SPIFFE ID with a path, so it is a workload (X509-SVID section 3.2).
    #[error("a CA in the certificate chain has the SPIFFE ID of a workload")]
    IssuerSpiffeId,
    /// notAfter of an issuer or of the root has passed.
    #[error("a CA certificate in the chain, or its root, has expired")]
    IssuerExpired,
    /// notBefore of an issuer or of the root has not been reached.
    #[error("a CA certificate in the chain, or its root, is not valid yet")]
    IssuerNotYetValid,
    /// There are more CAs below one than its pathLenConstraint allows (RFC 5280 section 6.1.4 m).
    #[error("the certificate chain is longer than the path length of one of its CAs allows")]
    PathLength,
    /// A name is outside of the name constraints of a CA above it (RFC 5280 section 4.2.1.10).
    #[error("a name in the certificate is outside of the name constraints of a CA of its chain")]
    NameConstraints,
    /// The name constraints of an issuer cannot be processed.
    #[error("a CA in the certificate chain has name constraints that cannot be processed")]
    UnsupportedNameConstraints,
    /// A CA demands a valid certificate policy (RFC 5280 section 4.2.1.11), and there is none.
    #[error("a CA of the certificate chain demands a certificate policy that the chain does not have")]
    PolicyRequired,
    /// Looking for a path takes more work than one chain may cause.
    #[error("the certificate chain takes too many signature checks or name comparisons")]
    PathTooComplex,
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
