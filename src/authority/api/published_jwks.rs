//! The certificates that clients publish at their `jwks_uri`, as last fetched (RFC 8705 section 2.2).

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::JwksUri;
use crate::authority::registration::published_certificates;
use crate::authority::state::Caller;
use crate::authority::state::FetchedJwks;
use crate::authority::state::JwksSource;
use crate::authority::state::NotAJwkSet;

impl Authority {
    /// The `client_id`s of the clients that publish their certificates, each with its `jwks_uri`.
    pub fn client_jwks_uris(&self) -> Vec<(String, JwksUri)> {
        let snapshot = self.snapshot.load();
        let clients = snapshot.directory.all().filter(|client| !client.registration.metadata.disabled);
        clients
            .filter_map(|client| {
                let uri = client.registration.jwks_uri()?;
                Some((client.registration.client_id.to_string(), uri.clone()))
            })
            .collect()
    }

    /// Sets the source that [`Authority::discover`] uses. Later calls have no effect.
    pub fn discover_by(&self, source: Arc<dyn JwksSource>) {
        drop(self.jwks_source.set(source));
    }

    /// Looks for a caller's certificate at the `jwks_uri` of the client that it claims to be, if the configuration
    /// allows it and the certificate is not known. This is the only place where a request waits for a remote server;
    /// afterwards the request takes a new view.
    pub async fn discover(&self, caller: &mut Caller, client_id: Option<&str>) {
        let Some(source) = self.jwks_source.get().filter(|_| self.policy.jwks_uri.on_demand) else { return };
        if let Some((client_id, uri)) = client_id.and_then(|client_id| undiscovered(caller, client_id)) {
            source.look(&client_id, &uri).await;
            caller.view = self.view();
        }
    }

    /// Stores the document that a client published at `uri`, requested at `fetched_at`. Unusable keys are skipped; a
    /// document that is not a JWK set leaves the last valid one in place.
    pub fn store_published_jwks(
        &self,
        client_id: &str,
        uri: &JwksUri,
        json: &[u8],
        fetched_at: Timestamp,
    ) -> Result<(), NotAJwkSet> {
        let document = serde_json::from_slice(json).map_err(|_| NotAJwkSet)?;
        let certificates = published_certificates(&document).ok_or(NotAJwkSet)?;
        let good_until = fetched_at.after(self.policy().jwks_uri.keep);
        let fetched = FetchedJwks { uri: uri.clone(), certificates, fetched_at, good_until };
        self.change_snapshot(|snapshot| {
            // The client may have been deleted, or registered anew with another URL, during the fetch.
            let client = snapshot.directory.named(client_id);
            if client.is_some_and(|client| client.registration.jwks_uri() == Some(uri)) {
                snapshot.published_jwks.insert(client_id, fetched);
            }
        });
        Ok(())
    }
}

fn undiscovered(caller: &Caller, client_id: &str) -> Option<(ClientId, JwksUri)> {
    let Caller { identity: peer, view, .. } = caller;
    let client_id = ClientId::parse(client_id).filter(|_| peer.spiffe_id().is_none())?;
    let ClientStatus::Registered(client) = view.snapshot.directory.status(&client_id) else { return None };
    let uri = client.registration.jwks_uri()?.clone();
    let known = view.snapshot.published_jwks.has(client_id.as_str(), &uri, &peer.thumbprint(), view.now);
    (!known && !view.snapshot.revocations.has_client(&client_id, view.now)).then_some((client_id, uri))
}
