//! Who asks at an endpoint that authenticates clients.

use crate::authority::access::roles::Roles;
use crate::authority::registration::ClientId;

/// Who asks at an endpoint that authenticates its callers: a registered client, or a holder of a role, or both.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The client, if it is one.
    pub client_id: Option<ClientId>,
    /// Its roles.
    pub roles: Roles,
}

impl Requester {
    pub(in crate::authority) fn speaks_for(&self, audience: &str) -> bool {
        let fronts = self.roles.proxy.as_ref().is_some_and(|fronted| fronted.includes(audience));
        self.roles.admin || fronts || self.client_id.as_ref().is_some_and(|client_id| client_id.as_str() == audience)
    }
}
