//! The certificates that clients publish at their `jwks_uri`, as they were last fetched (RFC 8705 section 2.2).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use imbl::HashMap;

use crate::authority::Authority;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::client_jwks;
use crate::authority::clock::Timestamp;
use crate::authority::directory::Standing;
use crate::authority::identity::PeerIdentity;
use crate::authority::jwks_uri::JwksUri;
use crate::authority::registration::ClientId;

/// What was fetched for each client. Whether it counts is asked at every use: of the clock, and of the registration.
#[derive(Clone, Debug, Default)]
pub struct ClientKeys {
    fetched: HashMap<String, Arc<FetchedJwks>>,
    /// The clients in whose documents a certificate is.
    publishers: HashMap<CertificateThumbprint, Vec<String>>,
}

/// A client's document.
#[derive(Clone, Debug)]
pub struct FetchedJwks {
    /// Where it was.
    pub uri: JwksUri,
    /// The certificates in it.
    pub certificates: Vec<CertificateThumbprint>,
    /// When it was asked for.
    pub fetched_at: Timestamp,
    /// From when on it no longer counts.
    pub good_until: Timestamp,
}

/// What was fetched is no JWK Set, or one with more certificates than one client may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JWK Set with 16 certificates at most")]
pub struct NotAJwkSet;

/// Looks for what a client publishes when its certificate is not known.
pub trait JwksSource: fmt::Debug + Send + Sync {
    /// Comes when the document at `uri` has been taken in, or when it was waited for long enough. Many who wait for the same
    /// client wait for one fetch.
    fn look(&self, client_id: &ClientId, uri: &JwksUri) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl ClientKeys {
    /// Whether a client published a certificate there, and that still counts.
    pub fn has(&self, client_id: &str, uri: &JwksUri, certificate: &CertificateThumbprint, now: Timestamp) -> bool {
        self.fetched.get(client_id).is_some_and(|fetched| {
            fetched.uri == *uri && now < fetched.good_until && fetched.certificates.contains(certificate)
        })
    }

    /// The clients that published a certificate, at whatever time and place.
    pub fn publishers(&self, certificate: &CertificateThumbprint) -> &[String] {
        self.publishers.get(certificate).map_or(&[], Vec::as_slice)
    }

    /// Puts a document in the place of the client's last one, unless that was asked for later.
    pub fn insert(&mut self, client_id: &str, fetched: FetchedJwks) {
        let last = self.fetched.get(client_id);
        if last.is_some_and(|last| last.uri == fetched.uri && last.fetched_at > fetched.fetched_at) {
            return;
        }
        self.remove(client_id);
        for certificate in &fetched.certificates {
            self.publishers.entry(*certificate).or_default().push(client_id.to_owned());
        }
        self.fetched.insert(client_id.to_owned(), Arc::new(fetched));
    }

    /// Forgets a client.
    pub fn remove(&mut self, client_id: &str) {
        let Some(last) = self.fetched.remove(client_id) else { return };
        for certificate in &last.certificates {
            let mut names = self.publishers.remove(certificate).unwrap_or_default();
            names.retain(|name| name != client_id);
            if !names.is_empty() {
                self.publishers.insert(*certificate, names);
            }
        }
    }
}

impl Authority {
    /// The `client_id`s that publish their certificates, and where.
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

    /// Where [`Authority::discover`] looks. Only the first one counts.
    pub fn discover_by(&self, source: Arc<dyn JwksSource>) {
        drop(self.jwks_source.set(source));
    }

    /// Looks for a peer's certificate at the `jwks_uri` of the client that it says to be, where the configuration lets it and
    /// the certificate is not known. The one place where a request waits for something remote.
    pub async fn discover(&self, peer: &PeerIdentity, client_id: Option<&str>) {
        let Some(source) = self.jwks_source.get().filter(|_| self.policy.jwks_uri.on_demand) else { return };
        if let Some((client_id, uri)) = client_id.and_then(|client_id| self.undiscovered(peer, client_id)) {
            source.look(&client_id, &uri).await;
        }
    }

    fn undiscovered(&self, peer: &PeerIdentity, client_id: &str) -> Option<(ClientId, JwksUri)> {
        let client_id = ClientId::parse(client_id).filter(|_| peer.spiffe_id().is_none())?;
        let (snapshot, now) = (self.snapshot.load(), self.clock.now());
        let Standing::Registered(client) = snapshot.directory.standing(&client_id) else { return None };
        let uri = client.registration.jwks_uri()?.clone();
        let known = snapshot.client_keys.has(client_id.as_str(), &uri, &peer.thumbprint(), now);
        (!known && !snapshot.revocations.has_client(&client_id, now)).then_some((client_id, uri))
    }

    /// Takes in the document that a client published at `uri`, which was asked for at `fetched_at`. A key of no use is
    /// skipped; a document that is none leaves the last good one in its place.
    pub fn take_in_jwks(
        &self,
        client_id: &str,
        uri: &JwksUri,
        json: &[u8],
        fetched_at: Timestamp,
    ) -> Result<(), NotAJwkSet> {
        let document = serde_json::from_slice(json).map_err(|_| NotAJwkSet)?;
        let certificates = client_jwks::published_in(&document).ok_or(NotAJwkSet)?;
        let good_until = fetched_at.after(self.policy().jwks_uri.keep);
        let fetched = FetchedJwks { uri: uri.clone(), certificates, fetched_at, good_until };
        self.change_snapshot(|snapshot| {
            // It may have been deleted, or registered anew with another URL, while the document was on its way.
            let client = snapshot.directory.named(client_id);
            if client.is_some_and(|client| client.registration.jwks_uri() == Some(uri)) {
                snapshot.client_keys.insert(client_id, fetched);
            }
        });
        Ok(())
    }
}
