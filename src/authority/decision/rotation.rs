//! The result of announcing a successor certificate.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::trust::Unproven;

/// Why a successor is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(NotAnnouncedCode),
    doc = "The codes of [`NotAnnounced`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum NotAnnounced {
    /// The caller is not a client whose registration has `rotation: lineage`.
    #[error("the caller's registration does not say rotation: lineage")]
    NotLineage,
    /// The proof of the successor is invalid.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_NOT_PROVEN"))]
    #[error("the announced certificate: {0}")]
    Unproven(Unproven),
    /// The successor has another SPIFFE ID, or none.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_OTHER_IDENTITY"))]
    #[error("the announced certificate bears another SPIFFE ID")]
    OtherIdentity,
    /// The successor is the certificate in use.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_NOT_ANOTHER"))]
    #[error("the announced certificate is the one in use")]
    NotAnother,
    /// The certificate in use already has another successor.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_TAKEN"))]
    #[error("another successor of this certificate has been announced before")]
    Taken,
    /// As many certificates of the caller's SPIFFE ID have a successor as may.
    #[error("as many certificates of this SPIFFE ID have an announced successor as this server allows")]
    QuotaExceeded,
    /// The store does not answer, so it is unknown whether the succession was stored.
    #[strum_discriminants(strum(serialize = "REGISTRY_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl NotAnnounced {
    /// The fixed code of the error.
    pub fn code(self) -> &'static str {
        NotAnnouncedCode::from(self).into()
    }
}

/// A stored succession.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// The successor certificate.
    pub successor: CertificateThumbprint,
    /// Until when tokens that are bound to the predecessor are accepted with the successor.
    pub until: Timestamp,
}
