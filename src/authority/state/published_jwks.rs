//! The certificates that clients publish at their `jwks_uri`, as they were last fetched (RFC 8705 section 2.2).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use imbl::HashMap;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::registration::JwksUri;

/// What was fetched for each client. Whether it counts is asked at every use: of the clock, and of the registration.
#[derive(Clone, Debug, Default)]
pub struct PublishedJwks {
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

impl PublishedJwks {
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
