//! The certificates that clients publish at their `jwks_uri`, as last fetched (RFC 8705 section 2.2).

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::JwksUri;
use crate::authority::registration::NotAJwkSet;
use crate::authority::registration::PublishedCertificates;
use crate::authority::registration::published_certificates;
use crate::authority::state::Caller;
use crate::authority::state::FetchedJwks;
use crate::authority::state::JwksSource;

impl Authority {
    /// The `client_id`s of the clients that publish their certificates, each with its `jwks_uri`.
    pub fn client_jwks_uris(&self) -> Vec<(String, JwksUri)> {
        let snapshot = self.snapshot.load();
        let clients = snapshot.directory.all().filter(|client| !client.registration.disabled);
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
    /// document that is not a JWK set leaves the last valid one in place. Returns what was read, if the keys that are
    /// skipped differ from those of the last document.
    pub fn store_published_jwks(
        &self,
        client_id: &str,
        uri: &JwksUri,
        json: &[u8],
        fetched_at: Timestamp,
    ) -> Result<Option<PublishedCertificates>, NotAJwkSet> {
        let published = published_certificates(json)?;
        let PublishedCertificates { certificates, skipped } = published.clone();
        let good_until = fetched_at.after(self.policy().jwks_uri.keep);
        let fetched = FetchedJwks { uri: uri.clone(), certificates, skipped, fetched_at, good_until };
        let snapshot = self.snapshot.load();
        let last = snapshot.published_jwks.last(client_id).map(|last| &last.skipped);
        let changed = last.map_or(!published.skipped.0.is_empty(), |last| *last != published.skipped);
        self.change_snapshot(|snapshot| {
            // The client may have been deleted, or registered anew with another URL, during the fetch.
            let client = snapshot.directory.named(client_id);
            if client.is_some_and(|client| client.registration.jwks_uri() == Some(uri)) {
                snapshot.published_jwks.insert(client_id, fetched);
            }
        });
        Ok(changed.then_some(published))
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
