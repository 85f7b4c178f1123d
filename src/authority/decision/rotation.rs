//! What comes of announcing a successor certificate.

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::trust::Unproven;

/// Why a successor was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(NotAnnouncedCode),
    doc = "The codes of [`NotAnnounced`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum NotAnnounced {
    /// The caller is no client whose registration says `rotation: lineage`.
    #[error("the caller's registration does not say rotation: lineage")]
    NotLineage,
    /// The successor does not prove what it says.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_NOT_PROVEN"))]
    #[error("the announced certificate: {0}")]
    Unproven(Unproven),
    /// It bears another SPIFFE ID, or none.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_OTHER_IDENTITY"))]
    #[error("the announced certificate bears another SPIFFE ID")]
    OtherIdentity,
    /// It is the certificate in use.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_NOT_ANOTHER"))]
    #[error("the announced certificate is the one in use")]
    NotAnother,
    /// The certificate in use has a successor, and it is another one.
    #[strum_discriminants(strum(serialize = "SUCCESSOR_TAKEN"))]
    #[error("another successor of this certificate has been announced before")]
    Taken,
    /// The store does not answer: whether it was stored is not known.
    #[strum_discriminants(strum(serialize = "REGISTRY_UNAVAILABLE"))]
    #[error("the store is unavailable")]
    Unavailable,
}

impl NotAnnounced {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        NotAnnouncedCode::from(self).into()
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
