//! Why a server does not start.

use std::io;
use std::net::SocketAddr;

use crate::authority::state::LoadError;
use crate::server::keys_error::KeysError;
use crate::store::sled::OpenError;
use crate::tls::outbound::OutboundError;
use crate::tls::server_certificate::CertificateFileError;
use crate::trust_sources::files::TrustFileError;
use crate::trust_sources::workload_api::Unanswered;

/// Why a server did not start. Nothing is served with a part of it missing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The listener behind a terminator.
    #[error("cannot listen as `forwarded` says: {0}")]
    Forwarded(io::Error),
    /// The server's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    /// A bundle or client CA.
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    /// The Workload API.
    #[error(transparent)]
    WorkloadApi(#[from] Unanswered),
    /// The CAs of where clients publish their certificates, or trust domains their bundles.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The registrations in it.
    #[error("the registrations cannot be read: {0}")]
    Registrations(#[from] LoadError),
    /// The signing keys in it.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Threads, runtimes, descriptors of services: what should never fail.
    #[error("the server cannot be set up: {0}")]
    Setup(Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Whether another process has the store, which is then in good order.
    pub fn is_store_in_use(&self) -> bool {
        matches!(self, Self::Store(OpenError::InUse { .. }))
    }
}
