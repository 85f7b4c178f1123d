//! The sender of a request.

use std::sync::Arc;

use crate::authority::access::CallerIdentity;
use crate::authority::access::ChangedBy;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::RegisteredGrant;
use crate::authority::access::Roles;
use crate::authority::access::Sender;
use crate::authority::access::Within;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::view::View;

/// A caller at the time of its request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The caller's identity.
    pub identity: Arc<PeerIdentity>,
    /// The roles that the caller holds.
    pub roles: Roles,
    /// The grants that the caller holds. They are looked up for the methods that they open alone.
    pub grants: Vec<Arc<RegisteredGrant>>,
    /// The view by which its request is decided.
    pub view: View,
    /// The connection that its request came on.
    pub connection: ConnectionInfo,
}

impl Caller {
    /// What of the registry it may see.
    pub fn sees(&self) -> Within<'_> {
        if self.roles.reads_all() { Within::Everything } else { Within::Grants(&self.grants) }
    }

    /// The author of a change that the caller makes as an admin, or as the admin of a team.
    pub fn author<'a>(&'a self, reason: Option<&'a str>) -> ChangedBy<'a> {
        let within = if self.roles.admin { Within::Everything } else { Within::Grants(&self.grants) };
        ChangedBy { reason, within, ..ChangedBy::from(&self.identity) }
    }

    /// Whether it may register others: as an admin, or as the admin of a team.
    pub fn is_registrant(&self) -> bool {
        self.roles.admin || !self.grants.is_empty()
    }

    /// The caller as the records of refusals name it.
    pub fn sender(&self) -> Sender {
        Sender { identity: Some(CallerIdentity::Certificate(Arc::clone(&self.identity))), connection: self.connection }
    }
}
