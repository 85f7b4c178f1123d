//! Who calls: a connection, what its certificate proved, and why a call is not admitted.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::authority::clock::Timestamp;
use crate::authority::evidence::NotForwarded;
use crate::authority::identity::PeerIdentity;
use crate::authority::trust::Unproven;

/// A connection whose peer was proven in the handshake.
pub struct PeerConnection {
    pub(in crate::authority) reach: Reach,
    pub(in crate::authority) chain: Vec<CertificateDer<'static>>,
    pub(in crate::authority) proven: ArcSwap<Proven>,
}

impl PeerConnection {
    /// Who was last proven; see [`Authority::caller`] for who it still is.
    pub fn identity(&self) -> Arc<PeerIdentity> {
        Arc::clone(&self.proven.load().identity)
    }
}

/// Over what a peer's certificate came, which limits what it may act as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Its own handshake.
    Direct,
    /// A terminator that is known: never an admin's.
    Forwarded,
    /// A terminator that is not: a workload's and nothing else.
    Insecure,
}

/// What was proven, and under which bundles and client CAs.
pub(in crate::authority) struct Proven {
    pub(in crate::authority) identity: Arc<PeerIdentity>,
    pub(in crate::authority) generation: u64,
    /// Until when its trust domain's bundle counts, as far as was known then.
    pub(in crate::authority) good_until: Option<Timestamp>,
}

/// Why a call does not reach what it calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAdmitted {
    /// There is no such method.
    #[error("no such method")]
    NoSuchMethod,
    /// The connection has no client certificate, and the method is not for anyone.
    #[error("a client certificate is required")]
    NoCertificate,
    /// The certificate no longer proves the caller.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// The certificate was not passed on as it must be.
    #[error(transparent)]
    NotForwarded(#[from] NotForwarded),
    /// The caller holds none of the roles that the method asks for.
    #[error("the caller holds none of the roles that this method asks for")]
    WrongRole,
}

impl NotAdmitted {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSuchMethod => "NO_SUCH_METHOD",
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::Unproven(_) => "CERTIFICATE_NOT_PROVEN",
            Self::NotForwarded(_) => "CERTIFICATE_NOT_FORWARDED",
            Self::WrongRole => "WRONG_ROLE",
        }
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
