//! Who sent a request, and on which connection: what the records of refusals say.

use std::net::SocketAddr;

use crate::authority::access::caller_identity::CallerIdentity;
use crate::authority::access::caller_identity::Peer;

/// The connection that a request came on, as the server accepted it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionInfo {
    /// The address of the connection's peer, which may be a TLS terminator; `None` over a Unix domain socket.
    pub remote: Option<SocketAddr>,
    /// The listener, as in the metrics: `mtls`, `public`, `forwarded` or `local`.
    pub listener: Option<&'static str>,
}

/// The sender of a request, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// What is known of it.
    pub identity: Option<CallerIdentity>,
    /// Its connection.
    pub connection: ConnectionInfo,
}

impl Sender {
    /// The peer of a connection, by the identity that was verified last.
    pub fn of(peer: Option<&Peer>, connection: ConnectionInfo) -> Self {
        Self { identity: peer.map(Peer::identity), connection }
    }
}
