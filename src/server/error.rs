//! Why a server does not start.

use std::io;
use std::net::SocketAddr;

use crate::authority::backup::UnfinishedImport;
use crate::authority::decision::KeyChangeError;
use crate::authority::keys::ReceiptKeysError;
use crate::authority::state::LoadError;
use crate::server::keys_error::KeysError;
use crate::signer::pkcs11::HsmError;
use crate::store::etcd::EtcdError;
use crate::store::sled::OpenError;
use crate::store::upstream::InvalidEndpoint;
use crate::telemetry::trail::TrailError;
use crate::tls::outbound::OutboundError;
use crate::tls::server_certificate::CertificateFileError;
use crate::trust_sources::files::TrustFileError;
use crate::trust_sources::workload_api::Unanswered;

/// Why a server did not start. A server never runs with a part missing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot bind its address.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address of the listener.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// The listener for a terminator cannot be bound.
    #[error("cannot listen for the terminator configured in `forwarded`: {0}")]
    Forwarded(io::Error),
    /// The socket for proxies on this machine cannot be bound, or not be given to its group.
    #[error("cannot listen on the socket configured in `local`: {0}")]
    Local(io::Error),
    /// The server's certificate cannot be loaded.
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    /// A bundle or client CA cannot be loaded.
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    /// The Workload API did not answer.
    #[error(transparent)]
    WorkloadApi(#[from] Unanswered),
    /// The CAs for fetching JWK Sets or bundles cannot be loaded.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An import into the store was interrupted.
    #[error(transparent)]
    Import(#[from] UnfinishedImport),
    /// The store in etcd cannot be opened.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// An address of the centre is no URL.
    #[error(transparent)]
    Upstream(#[from] InvalidEndpoint),
    /// No server of the centre has sent this edge what it decides by.
    #[error("no server of the centre has sent what this edge decides by: {0}")]
    NothingListed(LoadError),
    /// The registrations in the store cannot be read.
    #[error("the registrations cannot be read: {0}")]
    Registrations(#[from] LoadError),
    /// The signing keys in the store cannot be loaded.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The audit trail cannot be written.
    #[error(transparent)]
    Audit(#[from] TrailError),
    /// The token that is to hold signing keys cannot be used.
    #[error(transparent)]
    Token(#[from] HsmError),
    /// Threads, runtimes or descriptors of services could not be created. This should never happen.
    #[error("the server cannot be set up: {0}")]
    Setup(Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Whether another process uses the store, which is then intact.
    pub fn is_store_in_use(&self) -> bool {
        matches!(self, Self::Store(OpenError::InUse { .. }))
    }

    /// What the operator does about a store that is not opened or written, if it is not damaged.
    pub fn remedy_of_intact_store(&self) -> Option<&'static str> {
        match self {
            Self::Store(OpenError::InUse { .. }) => {
                Some("stop that process first: one server at a time may use a store")
            }
            Self::Store(OpenError::NoSpace { .. }) => {
                Some("nothing that is stored is lost: with space on that disk the server starts again")
            }
            Self::Store(OpenError::Io { .. })
            | Self::Keys(
                KeysError::Store(_)
                | KeysError::Receipts(ReceiptKeysError::Store(_))
                | KeysError::NotMade(KeyChangeError::Unavailable),
            ) => Some(
                "see the space and the permissions of the store's directory, and the limits of this process, and start \
                 again",
            ),
            Self::Etcd(EtcdError::Store(_)) => {
                Some("nothing that is stored is lost: see that a member of etcd can be reached, and start again")
            }
            Self::Bind { .. }
            | Self::Forwarded(_)
            | Self::Local(_)
            | Self::Certificate(_)
            | Self::Trust(_)
            | Self::WorkloadApi(_)
            | Self::Audit(_)
            | Self::Outbound(_)
            | Self::Etcd(EtcdError::Endpoint(_))
            | Self::Store(
                OpenError::Foreign { .. }
                | OpenError::Emptied { .. }
                | OpenError::RolledBack { .. }
                | OpenError::Damaged { .. }
                | OpenError::Stuck { .. },
            )
            | Self::Import(_)
            | Self::Upstream(_)
            | Self::NothingListed(_)
            | Self::Registrations(_)
            | Self::Keys(
                KeysError::Record { .. }
                | KeysError::NotInToken { .. }
                | KeysError::NotMade(_)
                | KeysError::Receipts(_),
            )
            | Self::Token(_)
            | Self::Setup(_) => None,
        }
    }
}
