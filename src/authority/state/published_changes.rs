//! How what clients publish gets into a snapshot: from the store, and from a fetch of this replica.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::JwksUriPolicy;
use crate::authority::registration::RegisteredClient;
use crate::authority::state::published_jwks::FetchedJwks;
use crate::authority::state::snapshot::Snapshot;
use crate::authority::store::Revision;

impl Snapshot {
    /// Takes a document that was fetched now. Returns whether it is in effect: the client may have been deleted, registered
    /// anew or given another URL during the fetch, another replica may have fetched it later, and a record of a newer schema
    /// suspends what it names.
    pub fn insert_fetched(&mut self, client_id: &str, fetched: &Arc<FetchedJwks>) -> bool {
        let own = self.directory.named(client_id).is_some_and(|client| fetched.is_of(client));
        if !own || self.is_too_new(&FetchedJwks::key(client_id)) {
            return false;
        }
        self.prefer_published(client_id, fetched)
    }

    /// Whether the client's document at its present URL no longer has a certificate: it lacks it, has not been fetched for
    /// too long, or all that is known of it is a record that cannot be read. Where nothing is known of it, this is not known
    /// of any certificate.
    pub fn has_dropped(&self, client: &RegisteredClient, certificate: &CertificateThumbprint, now: Timestamp) -> bool {
        if client.registration.jwks_uri().is_none() {
            return false;
        }
        self.published_jwks.of(client).map_or_else(
            || self.is_any_unreadable(&FetchedJwks::key(client.registration.client_id.as_str())),
            |fetched| now >= fetched.good_until || !fetched.certificates.contains(certificate),
        )
    }

    /// Takes it that what was requested at a time that is yet to come was requested now: a clock that was ahead has been set
    /// back.
    pub fn follow_clock(&mut self, policy: &JwksUriPolicy, now: Timestamp) {
        let ahead: Vec<_> =
            self.published_jwks.ahead_of(now).map(|(name, fetched)| (name.to_owned(), Arc::clone(fetched))).collect();
        for (name, fetched) in ahead {
            let limited = FetchedJwks::clone(&fetched).limited(&policy.allowed_hosts, policy.keep, now);
            self.published_jwks.insert(&name, Arc::new(limited));
        }
    }

    /// Takes what the store has of a client.
    pub(super) fn insert_stored_jwks(&mut self, client_id: &str, fetched: Arc<FetchedJwks>, revision: Revision) {
        self.prefer_published(client_id, &fetched);
        self.published_jwks.insert_stored(client_id, fetched, revision);
    }

    /// Takes it that the store has nothing of a client. What was in effect ends by its own time, and is kept until then and
    /// after it, so that it is known which certificates are no longer published.
    pub(super) fn remove_stored_jwks(&mut self, client_id: &str) {
        self.published_jwks.remove_stored(client_id);
        let client = self.directory.named(client_id);
        if client.is_none_or(|client| self.published_jwks.of(client).is_none()) {
            self.published_jwks.remove(client_id);
        }
    }

    /// Notes a registered client. A document in the store may be of its present URL: that and the record may arrive in any
    /// order where the whole store is read.
    pub(super) fn note_published(&mut self, client: &RegisteredClient) {
        self.published_jwks.note(client);
        if client.registration.jwks_uri().is_none() || self.published_jwks.of(client).is_some() {
            return;
        }
        let name = client.registration.client_id.as_str();
        if let Some(stored) = self.published_jwks.stored(name).filter(|stored| stored.is_of(client)) {
            let stored = Arc::clone(stored);
            self.published_jwks.insert(name, stored);
        }
    }

    /// Takes from an earlier snapshot what was fetched, and is of clients as they are registered here.
    pub(super) fn take_published(&mut self, earlier: &Self) {
        for (name, fetched) in earlier.published_jwks.all() {
            let own = self.directory.named(name).is_some_and(|client| fetched.is_of(client));
            if own && !self.is_any_unreadable(&FetchedJwks::key(name)) {
                self.prefer_published(name, fetched);
            }
        }
    }

    /// Replaces a client's document, unless the present one is of its registration and was requested later, or the new one
    /// is not of its registration. Returns whether it was replaced.
    fn prefer_published(&mut self, client_id: &str, fetched: &Arc<FetchedJwks>) -> bool {
        let client = self.directory.named(client_id);
        let is_own = |fetched: &FetchedJwks| client.is_some_and(|client| fetched.is_of(client));
        let stays = self
            .published_jwks
            .last(client_id)
            .is_some_and(|last| is_own(last) && (!is_own(fetched) || last.fetched_at > fetched.fetched_at));
        if !stays {
            self.published_jwks.insert(client_id, Arc::clone(fetched));
        }
        !stays
    }
}
