//! The certificates that clients publish at their `jwks_uri`, as they were last fetched (RFC 8705 section 2.2).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use imbl::HashMap;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::SkippedKeys;
use crate::authority::registration::ClientId;
use crate::authority::registration::JwksUri;

/// The last JWK Set fetched from each client. Whether it is valid is checked at every use, by the time and the
/// registration.
#[derive(Clone, Debug, Default)]
pub struct PublishedJwks {
    fetched: HashMap<String, Arc<FetchedJwks>>,
    /// The clients whose documents contain a certificate.
    publishers: HashMap<CertificateThumbprint, Vec<String>>,
}

/// The JWK Set of one client.
#[derive(Clone, Debug)]
pub struct FetchedJwks {
    /// The URL that it was fetched from.
    pub uri: JwksUri,
    /// The certificates in it.
    pub certificates: Vec<CertificateThumbprint>,
    /// The keys in it that are not used.
    pub skipped: SkippedKeys,
    /// When the request was sent.
    pub fetched_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub good_until: Timestamp,
}

/// Fetches what a client publishes when its certificate is not known.
pub trait JwksSource: fmt::Debug + Send + Sync {
    /// Completes when the document at `uri` has been applied, or when the time to wait for it is over. All callers that
    /// wait for the same client share one fetch.
    fn look(&self, client_id: &ClientId, uri: &JwksUri) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl PublishedJwks {
    /// Whether a client published a certificate at this URL, and the document is still valid.
    pub fn has(&self, client_id: &str, uri: &JwksUri, certificate: &CertificateThumbprint, now: Timestamp) -> bool {
        self.fetched.get(client_id).is_some_and(|fetched| {
            fetched.uri == *uri && now < fetched.good_until && fetched.certificates.contains(certificate)
        })
    }

    /// Whether the client's document at this URL no longer has a certificate: it lacks it, or has not been fetched for too
    /// long. Before the first fetch, as after a restart, this is not known of any certificate.
    pub fn has_dropped(
        &self,
        client_id: &str,
        uri: &JwksUri,
        certificate: &CertificateThumbprint,
        now: Timestamp,
    ) -> bool {
        self.fetched.get(client_id).is_some_and(|fetched| {
            fetched.uri == *uri && (now >= fetched.good_until || !fetched.certificates.contains(certificate))
        })
    }

    /// The last document of a client, at any URL.
    pub fn last(&self, client_id: &str) -> Option<&FetchedJwks> {
        self.fetched.get(client_id).map(Arc::as_ref)
    }

    /// The clients that published a certificate, at any time and URL.
    pub fn publishers(&self, certificate: &CertificateThumbprint) -> &[String] {
        self.publishers.get(certificate).map_or(&[], Vec::as_slice)
    }

    /// Replaces the client's document, unless the present one was requested later.
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

    /// Removes a client's document.
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
