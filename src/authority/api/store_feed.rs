//! How the snapshot follows the store.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::authority::Authority;
use crate::authority::keys::KEYS;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::keys::SigningKey;
use crate::authority::keys::SigningKeys;
use crate::authority::state::Entry;
use crate::authority::state::FetchedJwks;
use crate::authority::state::LoadError;
use crate::authority::state::PREFIXES;
use crate::authority::state::Snapshot;
use crate::authority::state::Unusable;
use crate::authority::state::too_new;
use crate::authority::store::Batch;
use crate::authority::store::Change;
use crate::authority::store::Expected;
use crate::authority::store::Listing;
use crate::authority::store::MAX_TRANSACTION_BYTES;
use crate::authority::store::MAX_TRANSACTION_OPERATIONS;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;

/// How many records are read at once, and the fewest for which a thread is started.
const PART: usize = 16_384;
const SHARE: usize = 1_024;

/// A record with its key, and what was read of it.
type ReadRecord<'a> = (&'a String, &'a Versioned<Arc<[u8]>>, Result<Option<Entry>, Unusable>);

impl Authority {
    /// Reads the whole store, and returns the revision from which to watch it. A damaged record is an error: skipping it
    /// could miss a revocation, or a disabled client and thereby let a wider pattern match. Only a signing key or a receipt key
    /// that cannot be opened keeps its previous value, and what a client or a trust domain published is left out: without them fewer tokens and
    /// certificates are accepted, not more. A record of a newer schema suspends what it names, or forbids every decision.
    pub async fn load(&self) -> Result<Revision, LoadError> {
        let asked = self.clock.elapsed();
        let (keys, receipt_keys) = (self.keys(), Arc::clone(&self.snapshot.load().receipt_keys));
        let mut snapshot = Snapshot::new(keys.emptied());
        let mut reached = None;
        for prefix in PREFIXES {
            let (mut after, mut more) = (String::new(), true);
            while more {
                let part = self.store.list_part(prefix, &after, PART).await?;
                let revision = part.listing.revision;
                more = part.more;
                for (key, stored, read) in self.read_all(&keys, &part.listing) {
                    match read {
                        Ok(entry) => snapshot.apply(key, entry, stored.revision),
                        Err(error @ Unusable::SigningKey(_)) => {
                            let known = key.strip_prefix(KEYS).and_then(|key_id| keys.named(key_id));
                            if let Some((known, revision)) = known {
                                snapshot.apply(key, Some(Entry::SigningKey(known.clone())), revision);
                            }
                            snapshot.suspend(key, &stored.value, stored.revision, &error);
                        }
                        Err(error @ Unusable::ReceiptKey(_)) => {
                            let known = key.strip_prefix(RECEIPT_KEYS).and_then(|id| receipt_keys.named(id));
                            if let Some((known, revision)) = known {
                                snapshot.apply(key, Some(Entry::ReceiptKey(Box::new(known.clone()))), revision);
                            }
                            snapshot.suspend(key, &stored.value, stored.revision, &error);
                        }
                        Err(error @ (Unusable::PublishedJwks(_) | Unusable::FetchedBundle(_))) => {
                            snapshot.suspend(key, &stored.value, stored.revision, &error);
                        }
                        Err(error) if too_new(key, &stored.value).is_some() => {
                            snapshot.suspend(key, &stored.value, stored.revision, &error);
                        }
                        Err(problem) => {
                            return Err(LoadError::Record { problem: problem.to_string(), key: key.clone() });
                        }
                    }
                }
                if let Some((last, _)) = part.listing.entries.last() {
                    after.clone_from(last);
                }
                // Watching from the earliest revision delivers again what was written between two listings.
                reached = Some(reached.map_or(revision, |reached: Revision| reached.min(revision)));
            }
        }
        let reached = reached.unwrap_or_default();
        snapshot.advance_to(reached);
        let _writer = self.snapshot_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot.load_full();
        if reached < before.reached() {
            // As after etcd's data was restored from a backup: the order of revisions no longer tells what is newer.
            return Err(LoadError::WentBack { known: before.reached(), found: reached });
        }
        snapshot.merge_newer(&before);
        report(&before, &snapshot);
        self.snapshot.store(Arc::new(snapshot));
        self.snapshot_feed.list_again(&self.snapshot.load());
        self.set_edge_grants();
        self.store_feed.progress(self.store.delivered_until().unwrap_or(asked));
        Ok(reached)
    }

    /// Applies a batch from the store's watch: all changes of a revision at once, so that no decision sees half of a
    /// transaction.
    pub fn apply(&self, batch: &Batch) {
        let revision = batch.revision;
        // Nobody learns that nothing is missing before it was sent what there is.
        if batch.changes.is_empty() && self.snapshot.load().reached() >= revision {
            self.publish(batch);
            self.confirm(batch);
            return;
        }
        let keys = self.keys();
        let read = |change: &Change| {
            change.value.as_deref().map(|value| self.read(&keys, &change.key, value, revision)).transpose()
        };
        let known = self.snapshot.load();
        // What this server wrote itself has been applied by its writer.
        let news = batch.changes.iter().filter(|change| !known.has(&change.key, revision));
        let entries: Vec<_> = news.map(|change| (change, read(change))).collect();
        self.change_snapshot(|snapshot| {
            for (Change { key, value }, entry) in entries {
                match entry {
                    Ok(entry) => snapshot.apply(key, entry.flatten(), revision),
                    Err(error) => snapshot.suspend(key, value.as_deref().unwrap_or_default(), revision, &error),
                }
            }
            snapshot.advance_to(revision);
        });
        self.publish(batch);
        self.confirm(batch);
    }

    /// Applies this server's own write as soon as it is acknowledged, so that its caller sees it.
    pub(in crate::authority) fn apply_write(&self, key: &str, entry: Option<Entry>, revision: Revision) {
        self.apply_writes([(key.to_owned(), entry)], revision);
    }

    /// Applies this server's own writes of one transaction, all at once.
    pub(in crate::authority) fn apply_writes(
        &self,
        writes: impl IntoIterator<Item = (String, Option<Entry>)>,
        revision: Revision,
    ) {
        self.change_snapshot(|snapshot| {
            for (key, entry) in writes {
                snapshot.apply(&key, entry, revision);
            }
        });
    }

    /// Deletes the keys that have not changed since these revisions, as many in one transaction as a store accepts.
    pub(in crate::authority) async fn delete_all(&self, keys: Vec<(String, Revision)>) -> Result<(), StoreError> {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < MAX_TRANSACTION_OPERATIONS
                && let Some((key, revision)) = keys.next_if(|(key, _)| bytes + 2 * key.len() <= MAX_TRANSACTION_BYTES)
            {
                // A key is in the comparison and in the write.
                bytes += 2 * key.len();
                batch.push((key, revision));
            }
            self.delete_batch(batch).await?;
        }
        Ok(())
    }

    async fn delete_batch(&self, mut batch: Vec<(String, Revision)>) -> Result<(), StoreError> {
        while !batch.is_empty() {
            let deletion = batch.iter().fold(Transaction::default(), |deletion, (key, revision)| {
                deletion.compare(key, Expected::At(*revision)).delete(key)
            });
            match self.store.transact(deletion).await {
                Ok(deleted) => {
                    self.change_snapshot(|snapshot| {
                        for (key, _) in &batch {
                            snapshot.apply(key, None, deleted);
                        }
                    });
                    return Ok(());
                }
                // The key was written anew in the meantime, or another replica has deleted it.
                Err(StoreError::Conflict { key: changed }) => batch.retain(|(key, _)| *key != changed),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in crate::authority) fn change_snapshot(&self, change: impl FnOnce(&mut Snapshot)) {
        // A panic in another thread leaves no partial change: the snapshot is replaced as a whole or not at all.
        let _writer = self.snapshot_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot.load_full();
        let mut snapshot = Snapshot::clone(&before);
        change(&mut snapshot);
        report(&before, &snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Parses all values of a listing, on as many threads as the machine runs where there are many.
    fn read_all<'a>(&self, keys: &SigningKeys, listing: &'a Listing) -> Vec<ReadRecord<'a>> {
        let entries = &listing.entries;
        let read = |entries: &'a [(String, Versioned<Arc<[u8]>>)]| {
            let read = |(key, stored): &'a (String, Versioned<Arc<[u8]>>)| {
                (key, stored, self.read(keys, key, &stored.value, stored.revision))
            };
            entries.iter().map(read).collect::<Vec<_>>()
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(entries.len() / SHARE);
        if threads < 2 {
            return read(entries);
        }
        let read = &read;
        std::thread::scope(|scope| {
            let shares = entries.chunks(entries.len().div_ceil(threads));
            let others: Vec<_> = shares.map(|share| scope.spawn(move || read(share))).collect();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.flatten().collect()
        })
    }

    /// Parses the value at a key. A signing key is opened once per revision of its record.
    pub(in crate::authority::api) fn read(
        &self,
        keys: &SigningKeys,
        key: &str,
        value: &[u8],
        revision: Revision,
    ) -> Result<Option<Entry>, Unusable> {
        let opened = key.strip_prefix(KEYS).and_then(|key_id| keys.named(key_id)).filter(|(_, at)| *at == revision);
        match opened {
            Some((opened, _)) => Ok(Some(Entry::SigningKey(opened.clone()))),
            None => Ok(Entry::read(key, value, revision, &self.key_sealer)?.map(|entry| self.limited(entry))),
        }
    }

    /// Limits what another replica fetched to what the configuration of this one permits.
    fn limited(&self, entry: Entry) -> Entry {
        let Entry::PublishedJwks(fetched) = entry else { return entry };
        let policy = &self.policy.jwks_uri;
        let limited = FetchedJwks::clone(&fetched).limited(&policy.allowed_hosts, policy.keep, self.clock.now());
        Entry::PublishedJwks(Arc::new(limited))
    }
}

/// Logs a change of the active signing key, and that decisions are made again.
fn report(before: &Snapshot, now: &Snapshot) {
    if before.needs_newer_version() && !now.needs_newer_version() {
        tracing::info!("each record that needed a newer version is gone or rewritten: decisions are made again");
    }
    let (before, now) = (&before.keys, &now.keys);
    let [was, is] = [before, now].map(|keys| keys.active().map(SigningKey::key_id));
    match is {
        _ if is == was => {}
        Some(kid) => tracing::info!(%kid, "the active signing key changed"),
        None => {
            let algorithm = now.algorithm().name();
            tracing::error!(algorithm, "the store no longer has a key that signs: no tokens are issued");
        }
    }
}
