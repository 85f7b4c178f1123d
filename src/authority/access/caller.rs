//! Callers: a connection, the identity that its certificate proves, and the reasons to refuse a call.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::authority::access::limit::Exceeded;
use crate::authority::clock::Timestamp;
use crate::authority::evidence::NotForwarded;
use crate::authority::identity::PeerIdentity;
use crate::authority::trust::Unproven;

/// A connection whose peer was authenticated in the handshake.
pub struct PeerConnection {
    pub(in crate::authority) reach: Reach,
    pub(in crate::authority) chain: Vec<CertificateDer<'static>>,
    pub(in crate::authority) proven: ArcSwap<Proven>,
}

impl PeerConnection {
    /// The identity that was last verified. [`Authority::caller`] returns the one that is still valid.
    pub fn identity(&self) -> Arc<PeerIdentity> {
        Arc::clone(&self.proven.load().identity)
    }
}

/// How a peer's certificate was received, which limits the roles of the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// In the peer's own TLS handshake.
    Direct,
    /// Forwarded by a known TLS terminator. The peer never holds Admin, Auditor or Revoker.
    Forwarded,
    /// Forwarded by an unauthenticated terminator. The peer holds Workload and no other role.
    Insecure,
}

/// A verified identity, with the bundles and client CAs that it was verified against.
pub(in crate::authority) struct Proven {
    pub(in crate::authority) identity: Arc<PeerIdentity>,
    pub(in crate::authority) generation: u64,
    /// The time until which the bundle of its trust domain is valid, as known at verification.
    pub(in crate::authority) good_until: Option<Timestamp>,
}

/// Why a call is refused before it reaches its method.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(NotAdmittedCode),
    doc = "The codes of [`NotAdmitted`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum NotAdmitted {
    /// The method is not in the access table.
    #[error("no such method")]
    NoSuchMethod,
    /// The connection has no client certificate, and the method requires one.
    #[error("a client certificate is required")]
    NoCertificate,
    /// The certificate no longer authenticates the caller.
    #[strum_discriminants(strum(serialize = "CERTIFICATE_NOT_PROVEN"))]
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// The terminator did not forward the certificate in the required form.
    #[strum_discriminants(strum(serialize = "CERTIFICATE_NOT_FORWARDED"))]
    #[error(transparent)]
    NotForwarded(#[from] NotForwarded),
    /// The caller holds none of the roles that the method requires.
    #[error("the caller holds none of the roles that this method asks for")]
    WrongRole,
    /// The caller has as much under way, or asks as often, as it may.
    #[error("this caller is at the limit of its share: try again later")]
    ShareExceeded(Exceeded),
    /// Requests wait longer than they may, and the less urgent ones are refused.
    #[error("the server is overloaded: try again later")]
    Overloaded,
    /// The server is an edge, and edges do not have the method.
    #[error("this is an edge, which decides and neither issues nor changes anything: ask the centre")]
    NotAtAnEdge,
}

impl NotAdmitted {
    /// The fixed code of the refusal.
    pub fn code(self) -> &'static str {
        NotAdmittedCode::from(self).into()
    }
}

impl fmt::Debug for PeerConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PeerConnection")
            .field("identity", &self.proven.load().identity.to_string())
            .finish_non_exhaustive()
    }
}

impl From<Exceeded> for NotAdmitted {
    fn from(exceeded: Exceeded) -> Self {
        Self::ShareExceeded(exceeded)
    }
}
