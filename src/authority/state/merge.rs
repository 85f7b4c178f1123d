//! What a snapshot that was read anew takes from the one before it.

use std::sync::Arc;

use crate::authority::access::TeamGrant;
use crate::authority::keys::KEYS;
use crate::authority::records::Registered;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::entry::Entry;
use crate::authority::state::features::FEATURES;
use crate::authority::state::fetched_bundles::FetchedBundle;
use crate::authority::state::lineages;
use crate::authority::state::published_jwks::FetchedJwks;
use crate::authority::state::replicas::REPLICAS;
use crate::authority::state::snapshot::Indexed;
use crate::authority::state::snapshot::Snapshot;
use crate::authority::store::Revision;

impl Snapshot {
    /// Copies from an earlier snapshot the changes that are later than the revision of this one.
    pub fn merge_newer(&mut self, earlier: &Self) {
        let reached = self.reached;
        self.take_later::<ClientRegistration>(earlier, reached);
        self.take_later::<ProtectedResource>(earlier, reached);
        self.take_later::<TeamGrant>(earlier, reached);
        for (mark, revision) in earlier.resources.marks().filter(|(_, revision)| *revision > reached) {
            let key = DeletedResource::key(&mark.audience);
            self.apply(&key, Some(Entry::Deleted(Box::new(mark.clone()))), revision);
        }
        for (key, revision) in earlier.keys.all().filter(|(_, revision)| *revision > reached) {
            let entry = Entry::SigningKey(key.clone());
            self.apply(&format!("{KEYS}{}", key.key_id()), Some(entry), revision);
        }
        for (key, revision) in earlier.receipt_keys.all().filter(|(_, revision)| *revision > reached) {
            self.apply(&key.store_key(), Some(Entry::ReceiptKey(Box::new(key.clone()))), revision);
        }
        for (predecessor, record, revision) in earlier.lineages.all().filter(|(.., revision)| *revision > reached) {
            self.apply(&lineages::store_key(predecessor), Some(Entry::Lineage(record.clone())), revision);
        }
        for (revoked, record, revision) in earlier.revocations.all().filter(|(.., revision)| *revision > reached) {
            self.apply(&revoked.store_key(), Some(Entry::Revocation(record.into_owned())), revision);
        }
        for (name, heartbeat, revision) in earlier.replicas.all().filter(|(.., revision)| *revision > reached) {
            self.apply(&format!("{REPLICAS}{name}"), Some(Entry::Heartbeat(heartbeat.clone())), revision);
        }
        for (name, record, revision) in earlier.features.all().filter(|(.., revision)| *revision > reached) {
            self.apply(&format!("{FEATURES}{name}"), Some(Entry::Feature(record.clone())), revision);
        }
        for (name, fetched, revision) in earlier.published_jwks.all_stored().filter(|(.., at)| *at > reached) {
            self.apply(&FetchedJwks::key(name), Some(Entry::PublishedJwks(Arc::clone(fetched))), revision);
        }
        for (name, fetched, revision) in earlier.fetched_bundles.all().filter(|(.., at)| *at > reached) {
            self.apply(&FetchedBundle::key(name), Some(Entry::FetchedBundle(Arc::clone(fetched))), revision);
        }
        for (key, revision, too_new) in earlier.unreadable.all().filter(|(_, revision, _)| *revision > reached) {
            self.mark_unreadable(key, revision, too_new);
        }
        for (key, revision) in &earlier.removed {
            self.apply(key, None, *revision);
        }
        self.take_published(earlier);
    }

    fn take_later<T: Indexed>(&mut self, earlier: &Self, reached: Revision) {
        for registered in T::all(earlier).all().filter(|registered| registered.revision > reached) {
            let key = T::key(registered.registration.name());
            self.apply(&key, Some(T::entry(Registered::clone(registered))), registered.revision);
        }
    }
}
