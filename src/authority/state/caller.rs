//! Who sends a request.

use std::sync::Arc;

use crate::authority::access::Roles;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::view::View;

/// A caller at the moment of its request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub identity: Arc<PeerIdentity>,
    /// What it may act as.
    pub roles: Roles,
    /// What its request is decided by.
    pub view: View,
}
