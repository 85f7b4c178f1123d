//! How the connections of a listener are served, and a connection on its way there.

use std::sync::Arc;

use axum::Router;
use tokio::sync::OwnedSemaphorePermit;

use crate::limits::Reserve;
use crate::server::middleware::ForwardedService;
use crate::server::middleware::Terminator;
use crate::server::socket::Accepted;
use crate::server::transport::gate::Gate;
use crate::server::transport::places::Place;

/// How the connections of a listener are served.
#[derive(Debug)]
pub(in crate::server) enum Door {
    /// Over mTLS, with these routes.
    Mutual(Router),
    /// Over TLS without client certificates, with these routes.
    ServerOnly(Router),
    /// Without TLS, with these routes.
    Plain(Router),
    /// For proxies on this machine, with these routes.
    Local(Router),
    /// Behind a terminator that forwards the certificates of its peers.
    Forwarded(Arc<ForwardedService>),
}

impl Door {
    /// Whether connections begin with a handshake.
    pub(in crate::server) fn is_tls(&self) -> bool {
        match self {
            Self::Mutual(_) | Self::ServerOnly(_) => true,
            Self::Forwarded(service) => matches!(service.terminator, Terminator::Svid(_)),
            Self::Plain(_) | Self::Local(_) => false,
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(in crate::server) struct Incoming {
    pub(in crate::server) stream: Accepted,
    pub(in crate::server) door: Arc<Door>,
    /// The name of the listener.
    pub(in crate::server) listener: &'static str,
    /// Held for as long as the connection is open.
    pub(in crate::server) connection: OwnedSemaphorePermit,
    /// The places of the listener that any caller may have.
    pub(in crate::server) reserve: Arc<Reserve>,
    /// Held until the peer has shown that it means to get on.
    pub(in crate::server) place: Place,
    /// What the connection passes before its peer is known.
    pub(in crate::server) gate: Arc<Gate>,
}
