//! Evidence as callers bring it, read into what the decision looks at.

use spiffe::SpiffeId;

use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::InvalidCertificate;
use crate::authority::identity::parse_spiffe_id;

/// What is known of the certificate of the connection that a token was presented on.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The SPIFFE ID only.
    SpiffeId(SpiffeId),
    /// The thumbprint only.
    Thumbprint(CertificateThumbprint),
    /// The whole certificate.
    Certificate(Box<Certificate>),
}

/// What evidence can prove, growing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum EvidenceGrade {
    /// An identity, in whatever certificate.
    SpiffeId,
    /// A certificate, of which nothing else is known.
    Thumbprint,
    /// A certificate, with its validity and names.
    Certificate,
}

impl Evidence {
    /// Its grade.
    pub fn grade(&self) -> EvidenceGrade {
        match self {
            Self::SpiffeId(_) => EvidenceGrade::SpiffeId,
            Self::Thumbprint(_) => EvidenceGrade::Thumbprint,
            Self::Certificate(_) => EvidenceGrade::Certificate,
        }
    }

    /// The thumbprint of the certificate, where it tells that.
    pub fn thumbprint(&self) -> Option<CertificateThumbprint> {
        match self {
            Self::SpiffeId(_) => None,
            Self::Thumbprint(thumbprint) => Some(*thumbprint),
            Self::Certificate(certificate) => Some(certificate.thumbprint()),
        }
    }
}

/// Why evidence cannot be read. Nothing is guessed from the readable part.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEvidence {
    /// Not a certificate.
    #[error("the evidence is {0}")]
    Certificate(#[from] InvalidCertificate),
    /// Not 32 bytes.
    #[error("a certificate thumbprint is the 32 bytes of a SHA-256, not text")]
    Thumbprint,
    /// Not a SPIFFE ID.
    #[error("the SPIFFE ID is malformed")]
    SpiffeId,
    /// Not a forwarded certificate.
    #[error("the forwarded client certificate is malformed: {0}")]
    Forwarded(#[from] InvalidForwardedCertificate),
    /// The parts contradict each other.
    #[error("the forwarded client certificate contradicts itself, or what the proxy saw")]
    Inconsistent,
}

impl Evidence {
    /// A whole certificate, DER.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidEvidence> {
        Ok(Self::Certificate(Box::new(Certificate::parse(der)?)))
    }

    /// A thumbprint: 32 bytes.
    pub fn from_thumbprint(digest: &[u8]) -> Result<Self, InvalidEvidence> {
        CertificateThumbprint::from_digest(digest).map(Self::Thumbprint).ok_or(InvalidEvidence::Thumbprint)
    }

    /// A SPIFFE ID.
    pub fn from_spiffe_id(text: &str) -> Result<Self, InvalidEvidence> {
        parse_spiffe_id(text).map(Self::SpiffeId).ok_or(InvalidEvidence::SpiffeId)
    }

    /// What one hop says of its peer in `x-forwarded-client-cert`: the strongest part of it, which must agree with the
    /// others. `None` where it says nothing of a certificate.
    pub(in crate::authority) fn from_element(element: &ForwardedElement) -> Result<Option<Self>, InvalidEvidence> {
        if let Some(der) = &element.certificate {
            // That Hash agrees with Cert has been looked at by the parser.
            let certificate = Certificate::parse(der)?;
            if !element.uri.is_empty() && element.uri != certificate.names().uri {
                return Err(InvalidEvidence::Inconsistent);
            }
            return Ok(Some(Self::Certificate(Box::new(certificate))));
        }
        if let Some(hash) = &element.hash {
            return Self::from_thumbprint(hash).map(Some);
        }
        match element.uri.as_slice() {
            [] => Ok(None),
            [only] => Self::from_spiffe_id(only).map(Some),
            // An X509-SVID has exactly one URI SAN (X509-SVID section 2).
            _ => Err(InvalidEvidence::SpiffeId),
        }
    }
}
