//! How the connections of a listener are served, and a connection on its way there.

use std::sync::Arc;

use axum::Router;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::server::middleware::ForwardedService;
use crate::server::socket::Accepted;

/// How the connections of a listener are served.
#[derive(Debug)]
pub(in crate::server) enum Door {
    /// Over mTLS, with these routes.
    Mutual(Router),
    /// Over TLS without client certificates, with these routes.
    ServerOnly(Router),
    /// Without TLS, with these routes.
    Plain(Router),
    /// Behind a terminator that forwards the certificates of its peers.
    Forwarded(Arc<ForwardedService>),
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
    /// A permit of these is held during the handshake.
    pub(in crate::server) handshakes: Arc<Semaphore>,
}
