//! Why a handshake ends, for the one who runs the server.

use crate::authority::trust::Unproven;

/// Why a handshake did not come to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(HandshakeErrorCode),
    doc = "The codes of [`HandshakeError`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum HandshakeError {
    /// No rule accepts the certificate.
    Unproven(Unproven),
    /// No certificate, no common version, or no TLS.
    HandshakeFailed,
    /// It took too long, or waited too long for its turn.
    TooSlow,
}

impl HandshakeError {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        if let Self::Unproven(unproven) = self { unproven.code() } else { HandshakeErrorCode::from(self).into() }
    }
}
