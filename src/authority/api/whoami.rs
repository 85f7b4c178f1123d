//! Answers what a caller is to this server: the registrations that it can request tokens with.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::decision::Mismatch;
use crate::authority::decision::OwnRegistration;
use crate::authority::decision::authenticate;
use crate::authority::registration::ClientId;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::state::Caller;

impl Authority {
    /// The registrations that a caller's certificate may authenticate, each with the reason why it does not, if any.
    pub fn registrations_of(&self, caller: &Caller) -> Vec<OwnRegistration> {
        let (snapshot, peer) = (&caller.view.snapshot, &*caller.identity);
        let mut candidates = snapshot.directory.candidates(peer);
        let published = snapshot.published_jwks.publishers(&peer.thumbprint()).iter();
        candidates.extend(published.filter_map(|name| snapshot.directory.named(name)).map(Arc::clone));
        let own = candidates.into_iter().map(|client| {
            let registration = &client.registration;
            // The client_id of a SPIFFE client is its concrete SPIFFE ID.
            let client_id = match (&registration.method, peer.spiffe_id()) {
                (TokenEndpointAuthMethod::Spiffe(..), Some(id)) => ClientId::from(id),
                _ => registration.client_id.clone(),
            };
            let outcome = authenticate(snapshot, self.credentials(peer, None), &client_id, caller.view.now);
            // Such a client sends an assertion with each request, and none is sent here.
            let problem = outcome
                .err()
                .filter(|mismatch| !(registration.method.takes_assertion() && *mismatch == Mismatch::Assertion));
            OwnRegistration { client_id, client, problem }
        });
        own.collect()
    }
}
