//! The sender of a request.

use std::sync::Arc;

use crate::authority::access::ConnectionInfo;
use crate::authority::access::Roles;
use crate::authority::access::Sender;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::view::View;

/// A caller at the time of its request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The caller's identity.
    pub identity: Arc<PeerIdentity>,
    /// The roles that the caller holds.
    pub roles: Roles,
    /// The view by which its request is decided.
    pub view: View,
    /// The connection that its request came on.
    pub connection: ConnectionInfo,
}

impl Caller {
    /// The caller as the records of refusals name it.
    pub fn sender(&self) -> Sender {
        Sender { identity: Some(Arc::clone(&self.identity)), connection: self.connection }
    }
}
