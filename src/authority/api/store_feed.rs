//! How the snapshot follows the store.

use std::sync::Arc;
use std::sync::PoisonError;

use crate::authority::Authority;
use crate::authority::state::Entry;
use crate::authority::state::LoadError;
use crate::authority::state::PREFIXES;
use crate::authority::state::Snapshot;
use crate::authority::store::Batch;
use crate::authority::store::Change;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;

impl Authority {
    /// Reads everything, and returns the revision to watch the store from. A record that cannot be read is an error:
    /// leaving it out could leave out a disabled client, and let a wider pattern in, or a revocation.
    pub async fn load(&self) -> Result<Revision, LoadError> {
        let asked = self.clock.now();
        let mut snapshot = Snapshot::default();
        let mut reached = None;
        for prefix in PREFIXES {
            let listing = self.store.list(prefix).await?;
            for (key, stored) in listing.entries {
                let entry = Entry::read(&key, &stored.value, stored.revision)
                    .map_err(|problem| LoadError::Record { key: key.clone(), problem: problem.to_string() })?;
                snapshot.apply(&key, entry, stored.revision);
            }
            // What was written between two listings is told of again.
            reached = Some(reached.map_or(listing.revision, |reached: Revision| reached.min(listing.revision)));
        }
        let reached = reached.unwrap_or_default();
        snapshot.advance_to(reached);
        let _writer = self.snapshot_writer.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.merge_newer(&self.snapshot.load());
        self.snapshot.store(Arc::new(snapshot));
        self.store_feed.progress(asked);
        Ok(reached)
    }

    /// Takes in what the store's watch tells of: all changes of a revision at once, so that no decision goes by half of a
    /// transaction.
    pub fn apply(&self, batch: &Batch) {
        self.store_feed.progress(self.clock.now());
        let revision = batch.revision;
        if batch.changes.is_empty() && self.snapshot.load().reached() >= revision {
            return;
        }
        let read = |change: &Change| {
            change.value.as_deref().map(|value| Entry::read(&change.key, value, revision)).transpose()
        };
        let entries: Vec<_> = batch.changes.iter().map(|change| (&change.key, read(change))).collect();
        self.change_snapshot(|snapshot| {
            for (key, entry) in entries {
                match entry {
                    Ok(entry) => snapshot.apply(key, entry.flatten(), revision),
                    Err(error) => {
                        // What it says cannot be known; what it said no longer holds.
                        tracing::error!(%error, key, "a record cannot be read");
                        snapshot.suspend(key, revision);
                    }
                }
            }
            snapshot.advance_to(revision);
        });
    }

    /// Takes in a write of our own as soon as it is acknowledged, so that its maker sees it.
    pub(in crate::authority) fn apply_write(&self, key: &str, entry: Option<Entry>, revision: Revision) {
        self.change_snapshot(|snapshot| snapshot.apply(key, entry, revision));
    }

    /// Deletes what has not changed since these revisions.
    pub(in crate::authority) async fn delete_all(
        &self,
        keys: impl Iterator<Item = (String, Revision)>,
    ) -> Result<(), StoreError> {
        for (key, revision) in keys {
            match self.store.delete(&key, Expected::At(revision)).await {
                Ok(deleted) => self.apply_write(&key, None, deleted),
                // It was made anew meanwhile, or another replica has deleted it.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in crate::authority) fn change_snapshot(&self, change: impl FnOnce(&mut Snapshot)) {
        // A change made while another thread panicked is whole: it stands in the snapshot or not at all.
        let _writer = self.snapshot_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }
}
