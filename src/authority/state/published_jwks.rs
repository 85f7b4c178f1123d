//! The certificates that clients publish at their `jwks_uri`, as they were last fetched (RFC 8705 section 2.2).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use imbl::HashMap;
use imbl::OrdSet;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::SkippedKeys;
use crate::authority::registration::AllowedHosts;
use crate::authority::registration::ClientId;
use crate::authority::registration::JwksUri;
use crate::authority::registration::NotAJwkSet;
use crate::authority::registration::PublishedCertificates;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::published_certificates;
use crate::authority::store::Revision;

/// The last JWK Set fetched from each client, and what the store has. Whether it is valid is checked at every use, by the
/// time and the registration.
#[derive(Clone, Debug, Default)]
pub struct PublishedJwks {
    /// The clients that are registered to publish.
    registered: OrdSet<String>,
    /// What is in effect: what was read from the store, or was fetched here since.
    fetched: HashMap<String, Arc<FetchedJwks>>,
    /// The clients whose documents contain a certificate.
    publishers: HashMap<CertificateThumbprint, Vec<String>>,
    /// The records in the store.
    stored: HashMap<String, (Arc<FetchedJwks>, Revision)>,
}

/// The JWK Set of one client.
#[derive(Clone, Debug)]
pub struct FetchedJwks {
    /// The URL that it was fetched from.
    pub uri: JwksUri,
    /// The creation id of the client at that time: a client that was deleted and registered again is another one.
    pub creation_id: Box<str>,
    /// The certificates in it.
    pub certificates: Vec<CertificateThumbprint>,
    /// The keys in it that are not used.
    pub skipped: SkippedKeys,
    /// When the request was sent.
    pub fetched_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub good_until: Timestamp,
    /// The value of the record that it was read from; empty where it was fetched here.
    pub stored: Box<[u8]>,
}

/// A client that publishes its certificates: whose document is fetched, and where.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PublishingClient {
    /// Its name.
    pub client_id: ClientId,
    /// The creation id of its registration.
    pub creation_id: Box<str>,
    /// The URL at which it publishes.
    pub uri: JwksUri,
}

/// Fetches what a client publishes when its certificate is not known.
pub trait JwksSource: fmt::Debug + Send + Sync {
    /// Completes when the document of the client has been applied, or when the time to wait for it is over. All callers
    /// that wait for the same client share one fetch.
    fn look(&self, client: &PublishingClient) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl PublishingClient {
    /// A registered client; `None` if it does not publish its certificates.
    pub fn of(client: &RegisteredClient) -> Option<Self> {
        let uri = client.registration.jwks_uri()?.clone();
        let (client_id, creation_id) = (client.registration.client_id.clone(), client.record.creation_id.clone());
        Some(Self { client_id, creation_id, uri })
    }
}

impl FetchedJwks {
    /// Parses a document that a client published. Keys that cannot be used are skipped.
    pub fn parse(
        client: &PublishingClient,
        json: &[u8],
        fetched_at: Timestamp,
        good_until: Timestamp,
    ) -> Result<Self, NotAJwkSet> {
        let PublishedCertificates { certificates, skipped } = published_certificates(json)?;
        let PublishingClient { client_id: _, creation_id, uri } = client.clone();
        Ok(Self { uri, creation_id, certificates, skipped, fetched_at, good_until, stored: Box::default() })
    }

    /// Limits the validity of what another replica, or this one before a restart, has fetched to what this one's
    /// configuration permits. A clock that is ahead does not lengthen it.
    #[must_use]
    pub fn limited(mut self, allowed_hosts: &AllowedHosts, keep: Duration, now: Timestamp) -> Self {
        self.fetched_at = self.fetched_at.min(now);
        self.good_until = self.good_until.min(self.fetched_at.after(keep));
        if !allowed_hosts.allows(&self.uri) {
            self.good_until = Timestamp(0);
        }
        self
    }

    /// Whether it was fetched for this registration, from the URL that the client has now.
    pub fn is_of(&self, client: &RegisteredClient) -> bool {
        client.registration.jwks_uri() == Some(&self.uri) && client.record.creation_id == self.creation_id
    }

    /// Whether another document of the same registration says the same.
    pub fn says_like(&self, other: &Self) -> bool {
        self.uri == other.uri
            && self.creation_id == other.creation_id
            && self.certificates == other.certificates
            && self.skipped == other.skipped
    }
}

impl PublishedJwks {
    /// Whether a client published a certificate at its present URL, and the document is still valid.
    pub fn has(&self, client: &RegisteredClient, certificate: &CertificateThumbprint, now: Timestamp) -> bool {
        self.of(client).is_some_and(|fetched| now < fetched.good_until && fetched.certificates.contains(certificate))
    }

    /// The document of a client as it is registered now, valid or not.
    pub fn of(&self, client: &RegisteredClient) -> Option<&FetchedJwks> {
        // Most clients do not publish: nothing is looked up for them.
        client.registration.jwks_uri()?;
        self.last(client.registration.client_id.as_str()).filter(|fetched| fetched.is_of(client))
    }

    /// The last document of a client, at any URL.
    pub fn last(&self, client_id: &str) -> Option<&FetchedJwks> {
        self.fetched.get(client_id).map(Arc::as_ref)
    }

    /// The clients that published a certificate, at any time and URL.
    pub fn publishers(&self, certificate: &CertificateThumbprint) -> &[String] {
        self.publishers.get(certificate).map_or(&[], Vec::as_slice)
    }

    /// The names of the clients that are registered to publish.
    pub fn registered(&self) -> impl Iterator<Item = &str> {
        self.registered.iter().map(String::as_str)
    }

    /// What the store has of a client.
    pub fn stored(&self, client_id: &str) -> Option<&Arc<FetchedJwks>> {
        self.stored.get(client_id).map(|(fetched, _)| fetched)
    }

    /// All records in the store, by the names of their clients.
    pub(in crate::authority) fn all_stored(&self) -> impl Iterator<Item = (&str, &Arc<FetchedJwks>, Revision)> {
        self.stored.iter().map(|(name, (fetched, revision))| (name.as_str(), fetched, *revision))
    }

    /// All documents in effect, by the names of their clients.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Arc<FetchedJwks>)> {
        self.fetched.iter().map(|(name, fetched)| (name.as_str(), fetched))
    }

    /// The documents in effect that were requested at a time that is yet to come.
    pub fn ahead_of(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Arc<FetchedJwks>)> {
        self.all().filter(move |(_, fetched)| fetched.fetched_at > now)
    }

    pub(super) fn revision_of(&self, client_id: &str) -> Option<Revision> {
        self.stored.get(client_id).map(|(_, revision)| *revision)
    }

    /// Notes that a client is registered, to publish or not.
    pub(super) fn note(&mut self, client: &RegisteredClient) {
        let name = client.registration.client_id.as_str();
        if client.registration.jwks_uri().is_some() {
            self.registered.insert(name.to_owned());
        } else {
            self.registered.remove(name);
        }
    }

    /// Notes that a client is not registered. Its document goes.
    pub(super) fn forget(&mut self, client_id: &str) {
        self.registered.remove(client_id);
        self.remove(client_id);
    }

    /// Replaces the client's document.
    pub(super) fn insert(&mut self, client_id: &str, fetched: Arc<FetchedJwks>) {
        self.remove(client_id);
        for certificate in &fetched.certificates {
            self.publishers.entry(*certificate).or_default().push(client_id.to_owned());
        }
        self.fetched.insert(client_id.to_owned(), fetched);
    }

    /// Ends the validity of the client's document now. Any other replaces it.
    pub(super) fn expire(&mut self, client_id: &str) {
        if let Some(fetched) = self.fetched.get_mut(client_id) {
            let fetched = Arc::make_mut(fetched);
            (fetched.fetched_at, fetched.good_until) = (Timestamp(0), Timestamp(0));
        }
    }

    /// Replaces what the store has of a client.
    pub(super) fn insert_stored(&mut self, client_id: &str, fetched: Arc<FetchedJwks>, revision: Revision) {
        self.stored.insert(client_id.to_owned(), (fetched, revision));
    }

    /// Notes that the store has nothing of a client.
    pub(super) fn remove_stored(&mut self, client_id: &str) {
        self.stored.remove(client_id);
    }

    /// Removes a client's document.
    pub(super) fn remove(&mut self, client_id: &str) {
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
