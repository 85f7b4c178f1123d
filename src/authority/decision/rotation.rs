//! What comes of announcing a successor certificate.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::trust::Unproven;

/// Why a successor was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAnnounced {
    /// The caller is no client whose registration says `rotation: lineage`.
    #[error("the caller's registration does not say rotation: lineage")]
    NotLineage,
    /// The successor does not prove what it says.
    #[error("the announced certificate: {0}")]
    Unproven(Unproven),
    /// It bears another SPIFFE ID, or none.
    #[error("the announced certificate bears another SPIFFE ID")]
    OtherIdentity,
    /// It is the certificate in use.
    #[error("the announced certificate is the one in use")]
    NotAnother,
    /// The certificate in use has a successor, and it is another one.
    #[error("another successor of this certificate has been announced before")]
    Taken,
    /// The store does not answer: whether it was stored is not known.
    #[error("the store is unavailable")]
    Unavailable,
}

impl NotAnnounced {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotLineage => "NOT_LINEAGE",
            Self::Unproven(_) => "SUCCESSOR_NOT_PROVEN",
            Self::OtherIdentity => "SUCCESSOR_OTHER_IDENTITY",
            Self::NotAnother => "SUCCESSOR_NOT_ANOTHER",
            Self::Taken => "SUCCESSOR_TAKEN",
            Self::Unavailable => "REGISTRY_UNAVAILABLE",
        }
    }
}

/// A succession as it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// The certificate that follows.
    pub successor: CertificateThumbprint,
    /// Until when tokens that are bound to the predecessor pass with it.
    pub until: Timestamp,
}
