//! What stands behind a listener, and a connection on its way there.

use std::sync::Arc;

use axum::Router;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::server::middleware::ForwardedService;
use crate::server::socket::Accepted;

/// What stands behind a listener.
#[derive(Debug)]
pub(in crate::server) enum Door {
    /// A proven client certificate, and then these.
    Mutual(Router),
    /// TLS, and then these.
    ServerOnly(Router),
    /// These, in the plain.
    Plain(Router),
    /// A terminator, and behind it peers whose certificates it passes on.
    Forwarded(Arc<ForwardedService>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(in crate::server) struct Incoming {
    pub(in crate::server) stream: Accepted,
    pub(in crate::server) door: Arc<Door>,
    /// Held for as long as the connection is open.
    pub(in crate::server) connection: OwnedSemaphorePermit,
    /// One of these is held during the handshake.
    pub(in crate::server) handshakes: Arc<Semaphore>,
}
