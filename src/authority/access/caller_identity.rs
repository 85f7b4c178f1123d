//! What is known of a caller: the identity that its certificate proves, or the user that its process runs as.

use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::access::caller::PeerConnection;
use crate::authority::access::local_proxy::LocalProxy;
use crate::authority::identity::PeerIdentity;

/// The peer of a connection, as it was authenticated.
#[derive(Clone, Debug)]
pub enum Peer {
    /// By its certificate.
    Certificate(Arc<PeerConnection>),
    /// By the system, as a process of this user when it connected.
    Local(Arc<LocalProxy>),
}

impl Peer {
    /// The identity that was verified last.
    pub fn identity(&self) -> CallerIdentity {
        match self {
            Self::Certificate(connection) => CallerIdentity::Certificate(connection.identity()),
            Self::Local(proxy) => CallerIdentity::Local(Arc::clone(proxy)),
        }
    }
}

/// What is known of a caller.
#[derive(Clone, Debug)]
pub enum CallerIdentity {
    /// What its certificate proves.
    Certificate(Arc<PeerIdentity>),
    /// It is a proxy on this machine.
    Local(Arc<LocalProxy>),
}

impl CallerIdentity {
    /// What its certificate proves, if it has one.
    pub fn certificate(&self) -> Option<&Arc<PeerIdentity>> {
        match self {
            Self::Certificate(identity) => Some(identity),
            Self::Local(_) => None,
        }
    }

    /// The SPIFFE ID that it writes evidence as: its own, or the one that the configuration gives a proxy on this machine.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Certificate(identity) => identity.spiffe_id(),
            Self::Local(proxy) => proxy.spiffe_id.as_ref(),
        }
    }
}

impl fmt::Display for CallerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(identity) => identity.fmt(formatter),
            Self::Local(proxy) => write!(formatter, "uid:{}", proxy.user),
        }
    }
}
