//! The registrations that claim a SPIFFE ID, and which of them applies.

use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::registration::client::RegisteredClient;
use crate::authority::registration::directory::ClientStatus;
use crate::authority::registration::directory::Directory;

/// A registration that claims a SPIFFE ID.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The registration.
    pub client: Arc<RegisteredClient>,
    /// What becomes of the claim: a sentence.
    pub outcome: &'static str,
    /// Whether it is the registration that applies.
    pub applies: bool,
}

impl Directory {
    /// The registrations that claim a SPIFFE ID, the most specific first, and why all but one do not apply.
    pub fn claims_of(&self, id: &SpiffeId) -> Vec<Claim> {
        let text = id.to_string();
        let applying = match self.status_of(&text) {
            ClientStatus::Registered(client) => Some(client),
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
        };
        let claiming: Vec<_> = self.claiming(&text).collect();
        let levels: Vec<usize> = claiming.iter().map(|(level, _)| *level).collect();
        let claim = |(level, client): (usize, &Arc<RegisteredClient>)| {
            let applies = applying.as_ref().is_some_and(|applying| Arc::ptr_eq(applying, client));
            let outcome = if applies {
                "applies: it is the most specific one"
            } else if client.suspended.is_some() {
                "refuses the client: this version cannot read its record"
            } else if client.registration.disabled {
                "refuses the client: it is disabled"
            } else if levels.iter().filter(|other| **other == level).count() > 1 {
                "does not apply: another one claims the same"
            } else if levels.first() == Some(&level) {
                "does not apply: a wider one refuses the client"
            } else {
                "does not apply: there is a more specific one"
            };
            Claim { client: Arc::clone(client), outcome, applies }
        };
        claiming.into_iter().map(claim).collect()
    }
}
