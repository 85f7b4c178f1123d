//! The caller of an endpoint that authenticates clients.

use crate::authority::access::roles::Roles;
use crate::authority::access::sender::Sender;
use crate::authority::registration::ClientId;

/// The authenticated caller of an endpoint: a registered client, a peer that holds a role, or both.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The client's identifier, if the caller is a registered client.
    pub client_id: Option<ClientId>,
    /// The roles of the caller.
    pub roles: Roles,
    /// Who sent the request.
    pub sender: Sender,
}

impl Requester {
    pub(in crate::authority) fn speaks_for(&self, audience: &str) -> bool {
        let fronts = self.roles.proxy.as_ref().is_some_and(|fronted| fronted.includes(audience));
        self.roles.reads_all()
            || fronts
            || self.client_id.as_ref().is_some_and(|client_id| client_id.as_str() == audience)
    }
}
