//! A trust anchor.

use rustls_pki_types::CertificateDer;

use crate::authority::trust::extension_oid::ExtensionOid;
use crate::authority::trust::path::certificate::PathCertificate;

/// A CA certificate that is trusted because it is configured.
#[derive(Debug)]
pub(in crate::authority::trust) struct Anchor {
    der: CertificateDer<'static>,
    certificate: PathCertificate,
}

/// Why a certificate cannot be a trust anchor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAnchor {
    /// The certificate cannot be parsed.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// A version 3 certificate lacks basicConstraints cA, or its keyUsage lacks keyCertSign, so it may not sign
    /// certificates. Earlier versions have neither.
    #[error("not a CA certificate: it lacks basicConstraints CA:TRUE, or keyCertSign in its keyUsage")]
    NotACa,
    /// A signing certificate has a SPIFFE ID with a path (X509-SVID section 3.2).
    #[error("not a CA certificate: it has the SPIFFE ID of a workload")]
    SpiffeId,
    /// Signatures of its kind of key cannot be verified.
    #[error("a CA certificate with a kind of key that is not supported")]
    UnsupportedKey,
    /// It has a critical extension that is not processed.
    #[error("a CA certificate with a critical extension that is not supported: {0}")]
    CriticalExtension(ExtensionOid),
    /// Its name constraints cannot be processed.
    #[error(
        "a CA certificate with name constraints that cannot be processed: a form of name that is not supported, or a \
         subtree that is not written as RFC 5280 section 4.2.1.10 says (for a URI the host alone)"
    )]
    NameConstraints,
}

impl Anchor {
    pub(in crate::authority::trust) fn new(der: &CertificateDer<'_>) -> Result<Self, InvalidAnchor> {
        let certificate = PathCertificate::parse(der).map_err(|_| InvalidAnchor::NotACertificate)?;
        // RFC 5280 section 4.2.1.9: the key of a version 3 certificate without cA verifies no certificate.
        let is_ca = certificate.is_ca == Some(true) || !certificate.is_version_3;
        if !is_ca || certificate.key_cert_sign == Some(false) {
            return Err(InvalidAnchor::NotACa);
        }
        if certificate.has_spiffe_path() {
            return Err(InvalidAnchor::SpiffeId);
        }
        if !certificate.key.is_supported() {
            return Err(InvalidAnchor::UnsupportedKey);
        }
        if let Some(extension) = certificate.critical {
            return Err(InvalidAnchor::CriticalExtension(extension));
        }
        if certificate.constraints.is_err() {
            return Err(InvalidAnchor::NameConstraints);
        }
        Ok(Self { der: der.clone().into_owned(), certificate })
    }

    pub(super) fn certificate(&self) -> &PathCertificate {
        &self.certificate
    }
}

impl PartialEq for Anchor {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}
