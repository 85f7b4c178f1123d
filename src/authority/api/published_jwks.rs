//! The certificates that clients publish at their `jwks_uri`, as last fetched (RFC 8705 section 2.2).

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::api::keeping::STORED_AGAIN;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::NotAJwkSet;
use crate::authority::registration::RegisteredClient;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::state::FetchedJwks;
use crate::authority::state::JwksSource;
use crate::authority::state::PublishingClient;
use crate::authority::state::Snapshot;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How long after its last change a registration's document is fetched without waiting for the next round: several changes
/// in a row are one fetch.
const CHANGE_PAUSE: Duration = Duration::from_secs(2);

impl Authority {
    /// The clients that publish their certificates, and are not disabled.
    pub fn publishing_clients(&self) -> Vec<PublishingClient> {
        let snapshot = self.snapshot.load();
        publishing(&snapshot).filter_map(|client| PublishingClient::of(client)).collect()
    }

    /// Those of whose present registration no valid document is known, as after a change, unless the change is only just
    /// made.
    pub fn clients_without_published_jwks(&self) -> Vec<PublishingClient> {
        let (snapshot, now) = (self.snapshot.load(), self.clock.now());
        let lacks = |client: &&Arc<RegisteredClient>| {
            let valid = snapshot.published_jwks.of(client).is_some_and(|fetched| now < fetched.good_until);
            !valid && client.record.update_time.after(CHANGE_PAUSE) <= now
        };
        publishing(&snapshot).filter(lacks).filter_map(|client| PublishingClient::of(client)).collect()
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
        if let Some(client) = client_id.and_then(|client_id| undiscovered(caller, client_id)) {
            source.look(&client).await;
            caller.view = self.view();
        }
    }

    /// Takes the document that a client published, requested at `fetched_at`: it is in effect here at once, and is then stored
    /// for the other replicas and for a restart. Unusable keys are skipped; a document that is not a JWK set leaves the last
    /// valid one in place. Returns what was read, if the keys that are skipped differ from those of the last document.
    ///
    /// `taken` is called before the store is asked, so that nobody has to wait for that. A store that takes no writes is in
    /// the log and is no error: the document counts here all the same.
    pub async fn store_published_jwks(
        &self,
        client: &PublishingClient,
        json: &[u8],
        fetched_at: Timestamp,
        taken: impl FnOnce(),
    ) -> Result<Option<Arc<FetchedJwks>>, NotAJwkSet> {
        let good_until = fetched_at.after(self.policy.jwks_uri.keep);
        let fetched = Arc::new(FetchedJwks::parse(client, json, fetched_at, good_until)?);
        let client_id = client.client_id.as_str();
        let last = self.snapshot.load().published_jwks.last(client_id).map(|last| last.skipped.clone());
        let changed = last.map_or(!fetched.skipped.0.is_empty(), |last| last != fetched.skipped);
        let mut in_effect = false;
        self.change_snapshot(|snapshot| in_effect = snapshot.insert_fetched(client_id, &fetched));
        taken();
        if in_effect
            && self.is_to_be_stored(client_id, &fetched)
            && let Err(error) = self.write_published_jwks(client_id, &fetched, json).await
        {
            tracing::warn!(client_id, %error, "the JWK set that a client publishes could not be stored");
        }
        Ok(changed.then_some(fetched))
    }

    /// Whether the store has another document, or one that would end long before this one.
    fn is_to_be_stored(&self, client_id: &str, fetched: &FetchedJwks) -> bool {
        let snapshot = self.snapshot.load();
        let Some(stored) = snapshot.published_jwks.stored(client_id) else { return true };
        let again = stored.fetched_at.after(self.policy.jwks_uri.keep / STORED_AGAIN);
        !stored.says_like(fetched) || fetched.fetched_at >= again || stored.fetched_at > self.clock.now()
    }

    /// Takes it that what was requested at a time that is yet to come was requested now: a clock that was ahead has been set
    /// back. Its validity is not longer for that, and what is fetched from now on replaces it.
    pub fn published_jwks_follow_clock(&self) {
        let now = self.clock.now();
        if self.snapshot.load().published_jwks.ahead_of(now).next().is_some() {
            self.change_snapshot(|snapshot| snapshot.follow_clock(&self.policy.jwks_uri, now));
        }
    }

    async fn write_published_jwks(
        &self,
        client_id: &str,
        fetched: &Arc<FetchedJwks>,
        json: &[u8],
    ) -> Result<(), StoreError> {
        let key = FetchedJwks::key(client_id);
        let value = fetched.to_bytes(json).ok_or_else(|| StoreError::Unavailable("it is not UTF-8".to_owned()))?;
        let expected = self.snapshot.load().stored_revision(&key).map_or(Expected::Absent, Expected::At);
        let stored = FetchedJwks { stored: value.as_slice().into(), ..FetchedJwks::clone(fetched) };
        let write = Transaction::default().compare(&key, expected).put_until(&key, value, fetched.good_until);
        self.keep_fetched(&key, write, Some(Entry::PublishedJwks(Arc::new(stored)))).await
    }
}

/// The registered clients that publish, and are neither disabled nor suspended by a record of a newer schema: nothing that is
/// fetched for one would count.
fn publishing(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<RegisteredClient>> {
    let clients = snapshot.published_jwks.registered().filter_map(|name| snapshot.directory.named(name));
    clients.filter(|client| !client.registration.disabled && !is_suspended(snapshot, client))
}

fn is_suspended(snapshot: &Snapshot, client: &RegisteredClient) -> bool {
    snapshot.is_too_new(&FetchedJwks::key(client.registration.client_id.as_str()))
}

fn undiscovered(caller: &Caller, client_id: &str) -> Option<PublishingClient> {
    let Caller { identity: peer, view, .. } = caller;
    let client_id = ClientId::parse(client_id).filter(|_| peer.spiffe_id().is_none())?;
    let ClientStatus::Registered(client) = view.snapshot.directory.status(&client_id) else { return None };
    let publishing = PublishingClient::of(&client)?;
    let known = view.snapshot.published_jwks.has(&client, &peer.thumbprint(), view.now);
    let refused = view.snapshot.revocations.has_client(&client_id, view.now) || is_suspended(&view.snapshot, &client);
    (!known && !refused).then_some(publishing)
}
