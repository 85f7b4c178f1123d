//! The bundles of other trust domains, and the keys of trusted issuers, in the store: taken by all replicas, written by the
//! one that fetched.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::api::keeping::STORED_AGAIN;
use crate::authority::state::Entry;
use crate::authority::state::FetchedBundle;
use crate::authority::state::StoredBundle;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

impl Authority {
    /// What the store has under a name: of the bundle of the trust domain of that name, or of a trusted issuer's keys.
    pub fn stored_bundle(&self, name: &str) -> StoredBundle {
        let snapshot = self.snapshot.load();
        if let Some((fetched, revision)) = snapshot.fetched_bundles.of(name) {
            return StoredBundle::Fetched(Arc::clone(fetched), revision);
        }
        let key = FetchedBundle::key(name);
        snapshot.stored_revision(&key).map_or(StoredBundle::Absent, StoredBundle::Unreadable)
    }

    /// Whether the record has a newer schema than this version reads: the bundle, or the keys, are suspended.
    pub fn is_bundle_suspended(&self, name: &str) -> bool {
        self.snapshot.load().is_too_new(&FetchedBundle::key(name))
    }

    /// Stores a bundle, or an issuer's keys, that were fetched, parsed from this text, for the other replicas and for a restart: unless the store
    /// has it, and it was fetched within a quarter of `keep`, the time for which it is used, or has one that was requested
    /// later. One that is too large for a
    /// record is not stored: the record of an earlier one is deleted, so that no replica follows that.
    pub async fn store_fetched_bundle(
        &self,
        name: &str,
        fetched: FetchedBundle,
        text: &[u8],
        keep: Duration,
    ) -> Result<(), StoreError> {
        let stored = self.stored_bundle(name);
        let now = self.clock.now();
        let is_stored = |stored: &FetchedBundle| {
            let again = stored.fetched_at.after(keep / STORED_AGAIN);
            let is_same = stored.source == fetched.source && stored.document == fetched.document;
            // What was stored by a clock that was ahead is stored again.
            stored.fetched_at <= now
                && (fetched.fetched_at < stored.fetched_at || (is_same && fetched.fetched_at < again))
        };
        let expected = match &stored {
            StoredBundle::Absent => Expected::Absent,
            StoredBundle::Unreadable(_) if self.is_bundle_suspended(name) => return Ok(()),
            StoredBundle::Fetched(stored, _) if is_stored(stored) => return Ok(()),
            StoredBundle::Unreadable(revision) | StoredBundle::Fetched(_, revision) => Expected::At(*revision),
        };
        let key = FetchedBundle::key(name);
        let compared = Transaction::default().compare(&key, expected);
        let (write, entry) = match fetched.to_bytes(&key, text, &self.key_sealer) {
            Some(value) => {
                let stored = FetchedBundle { stored: value.as_slice().into(), ..fetched };
                let put = compared.put_until(&key, value, stored.keep_until);
                (put, Some(Entry::FetchedBundle(Arc::new(stored))))
            }
            None if expected == Expected::Absent => return Ok(()),
            None => (compared.delete(&key), None),
        };
        self.keep_fetched(&key, write, entry).await
    }
}
