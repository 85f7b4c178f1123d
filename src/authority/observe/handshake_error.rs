//! Why a handshake fails, for the operator.

use crate::authority::trust::Unproven;

/// Why a handshake did not result in a connection.
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
    /// The handshake timed out, or waited too long to start.
    TooSlow,
    /// The client kept the handshake waiting, and its place was needed for another.
    Displaced,
    /// A load balancer did not begin the connection with a header of the PROXY protocol that can be read.
    ProxyHeader,
    /// Over the socket for proxies on this machine: the user of the process is none of those that the configuration names.
    UserUnknown,
}

impl HandshakeError {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        if let Self::Unproven(unproven) = self { unproven.code() } else { HandshakeErrorCode::from(self).into() }
    }
}
