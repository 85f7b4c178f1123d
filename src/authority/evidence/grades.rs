//! Evidence that callers present, and its grades.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use spiffe::SpiffeId;

use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::evidence::known;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::InvalidCertificate;
use crate::authority::identity::parse_spiffe_id;

/// What is known about the certificate of the connection that a token was presented on.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// Only the SPIFFE ID is known.
    SpiffeId(SpiffeId),
    /// Only the thumbprint is known.
    Thumbprint(CertificateThumbprint),
    /// The whole certificate is known.
    Certificate(Arc<Certificate>),
}

/// How much evidence can prove, in ascending order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceGrade {
    /// An identity, in any certificate.
    SpiffeId,
    /// One certificate, of which nothing else is known.
    Thumbprint,
    /// One certificate, with its validity and names.
    Certificate,
}

impl EvidenceGrade {
    /// The name, as resources have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpiffeId => "spiffe_id",
            Self::Thumbprint => "thumbprint",
            Self::Certificate => "certificate",
        }
    }
}

/// The evidence as the records of decisions name it.
impl fmt::Display for Evidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpiffeId(id) => id.fmt(formatter),
            Self::Thumbprint(thumbprint) => write!(formatter, "x5t#S256:{thumbprint}"),
            Self::Certificate(certificate) => write!(formatter, "x5t#S256:{}", certificate.thumbprint()),
        }
    }
}

impl Evidence {
    /// The grade of this evidence.
    pub fn grade(&self) -> EvidenceGrade {
        match self {
            Self::SpiffeId(_) => EvidenceGrade::SpiffeId,
            Self::Thumbprint(_) => EvidenceGrade::Thumbprint,
            Self::Certificate(_) => EvidenceGrade::Certificate,
        }
    }

    /// The thumbprint of the certificate; `None` for a SPIFFE ID alone.
    pub fn thumbprint(&self) -> Option<CertificateThumbprint> {
        match self {
            Self::SpiffeId(_) => None,
            Self::Thumbprint(thumbprint) => Some(*thumbprint),
            Self::Certificate(certificate) => Some(certificate.thumbprint()),
        }
    }
}

/// Why evidence cannot be read. The readable part of invalid evidence is never used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEvidence {
    /// The bytes are not a certificate.
    #[error("the evidence is {0}")]
    Certificate(#[from] InvalidCertificate),
    /// The thumbprint is not 32 bytes.
    #[error("a certificate thumbprint is the 32 bytes of a SHA-256, not text")]
    Thumbprint,
    /// The text is not a SPIFFE ID.
    #[error("the SPIFFE ID is malformed")]
    SpiffeId,
    /// The header or percent-encoded text is not a forwarded certificate.
    #[error("the forwarded client certificate is malformed: {0}")]
    Forwarded(#[from] InvalidForwardedCertificate),
    /// The parts of the evidence contradict each other.
    #[error("the forwarded client certificate contradicts itself, or what the proxy saw")]
    Inconsistent,
}

impl Evidence {
    /// Reads a whole certificate from its DER.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidEvidence> {
        Ok(Self::Certificate(known::certificate(der)?))
    }

    /// Reads a thumbprint of 32 bytes.
    pub fn from_thumbprint(digest: &[u8]) -> Result<Self, InvalidEvidence> {
        CertificateThumbprint::from_digest(digest).map(Self::Thumbprint).ok_or(InvalidEvidence::Thumbprint)
    }

    /// Reads a SPIFFE ID.
    pub fn from_spiffe_id(text: &str) -> Result<Self, InvalidEvidence> {
        parse_spiffe_id(text).map(Self::SpiffeId).ok_or(InvalidEvidence::SpiffeId)
    }

    /// Reads what one hop writes about its peer in `x-forwarded-client-cert`. The strongest part is used, and the
    /// others must agree with it. `None` where the element describes no certificate.
    pub(in crate::authority) fn from_element(element: &ForwardedElement) -> Result<Option<Self>, InvalidEvidence> {
        if let Some(der) = &element.certificate {
            // The parser has checked that Hash agrees with Cert.
            let certificate = known::certificate(der)?;
            if !element.uri.is_empty() && element.uri != certificate.names().uri {
                return Err(InvalidEvidence::Inconsistent);
            }
            return Ok(Some(Self::Certificate(certificate)));
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
