//! The quotas, for metrics.

/// What is limited of what callers can make the server keep.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Quota {
    /// Revocations by a client of its own tokens.
    Revocations,
    /// Clients that are registered over HTTP.
    Registrations,
    /// Announced successors of certificates.
    Rotations,
    /// Assertions of trusted issuers that are tied to a certificate.
    Assertions,
}
