//! The receipt keys: made, rotated and deleted, in the store that all replicas share.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::authority::Authority;
use crate::authority::api::key_change::GUARD;
use crate::authority::clock::Timestamp;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::keys::RECEIPT_KEYS_INDEX;
use crate::authority::keys::ReceiptKeys;
use crate::authority::keys::ReceiptKeysError;
use crate::authority::state::Entry;
use crate::authority::state::Feature;
use crate::authority::state::due_receipt_key;
use crate::authority::state::ended_receipt_keys;
use crate::authority::state::too_new;
use crate::authority::store::Expected;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How long after a key was due there is none, where no replica makes one.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

impl Authority {
    /// What a start does about the receipt keys. Each must open, and where there was one there must be one: another would be
    /// made in place of one that is lost. Where token exchange is off, keys that no replica
    /// rotates any more are forgotten, and what is lost or damaged with them: a start with it makes new ones.
    pub async fn open_receipt_keys(&self) -> Result<(), ReceiptKeysError> {
        if self.policy.exchange.enabled {
            let (keys, guard) = self.stored_receipt_keys().await?;
            if keys.all().next().is_none() && guard != Expected::Absent {
                return Err(ReceiptKeysError::Lost);
            }
            if !self.snapshot.load().features.is_enabled(Feature::Exchange) {
                tracing::warn!(
                    "token exchange waits until `lanyard store feature enable exchange` lets its records be written"
                );
            }
            self.tend_receipt_keys().await
        } else {
            self.forget_receipt_keys().await
        }
    }

    /// Does what is due about the receipt keys: makes the first and each day the next one, and deletes those whose receipts
    /// have expired. Several replicas may do so at the same time.
    pub async fn tend_receipt_keys(&self) -> Result<(), ReceiptKeysError> {
        let snapshot = self.snapshot.load_full();
        if !self.policy.exchange.enabled && self.are_abandoned(&snapshot.receipt_keys) {
            return self.forget_receipt_keys().await;
        }
        let writes = self.policy.exchange.enabled && snapshot.features.is_enabled(Feature::Exchange);
        if !writes || snapshot.needs_newer_version() {
            return Ok(());
        }
        let (now, lag) = (self.clock.now(), self.receipt_key_lag());
        let ended: Vec<_> =
            ended_receipt_keys(&snapshot.receipt_keys, lag, now).map(|(key, at)| (key.store_key(), at)).collect();
        self.delete_all(ended).await?;
        // The store is asked only where something seems to be due.
        if due_receipt_key(&snapshot.receipt_keys, lag, now).is_none() {
            return Ok(());
        }
        let (keys, guard) = self.stored_receipt_keys().await?;
        if keys.all().next().is_none() && guard != Expected::Absent {
            return Err(ReceiptKeysError::Lost);
        }
        match due_receipt_key(&keys, lag, now) {
            Some(active_from) => self.add_receipt_key(guard, (now, active_from)).await,
            None => Ok(()),
        }
    }

    /// How much later than others a replica may learn of a change.
    fn receipt_key_lag(&self) -> Duration {
        self.view().bounds().map(|(_, longest)| longest).unwrap_or_default()
    }

    /// The keys as the store has them, and what it has at the key that each new one writes. A key of a newer version counts as
    /// none, and authenticates nothing here.
    async fn stored_receipt_keys(&self) -> Result<(ReceiptKeys, Expected), ReceiptKeysError> {
        // Read first: a key that is made in between is a conflict.
        let guard = self.store.get(RECEIPT_KEYS_INDEX).await?;
        let guard = guard.map_or(Expected::Absent, |stored| Expected::At(stored.revision));
        let mut keys = ReceiptKeys::default();
        for (key, entry) in self.store.list(RECEIPT_KEYS).await?.entries {
            match self.key_sealer.open_receipt_key(&key, &entry.value) {
                Ok(opened) => keys.insert(opened, entry.revision),
                Err(_) if too_new(&key, &entry.value).is_some() => {}
                Err(error) => return Err(ReceiptKeysError::Record { key, error }),
            }
        }
        Ok((keys, guard))
    }

    async fn add_receipt_key(
        &self,
        guard: Expected,
        (now, active_from): (Timestamp, Timestamp),
    ) -> Result<(), ReceiptKeysError> {
        let (mut id, mut bytes) = ([0; 8], Zeroizing::new([0; 32]));
        self.entropy.fill(&mut id)?;
        self.entropy.fill(bytes.as_mut_slice())?;
        let (key, record) = self.key_sealer.seal_receipt_key((id, &bytes), (now, active_from))?;
        let place = key.store_key();
        let adding = Transaction::default().compare(RECEIPT_KEYS_INDEX, guard).compare(&place, Expected::Absent);
        let adding = adding.put(RECEIPT_KEYS_INDEX, GUARD.to_vec()).put(&place, record);
        match self.store.transact(adding).await {
            Ok(revision) => {
                tracing::info!(key = place, active_from = active_from.0, "a key of receipts was made");
                self.apply_write(&place, Some(Entry::ReceiptKey(Box::new(key))), revision);
                Ok(())
            }
            // Another replica was first.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there are keys, and none was made when one was due: of all replicas none has token exchange on.
    fn are_abandoned(&self, keys: &ReceiptKeys) -> bool {
        let due_then = due_receipt_key(keys, self.receipt_key_lag(), self.clock.now().before(ABANDONED_AFTER));
        keys.all().next().is_some() && due_then.is_some()
    }

    /// Deletes the keys, unless other replicas use them: these may have token exchange on. What does not open is of use to none.
    async fn forget_receipt_keys(&self) -> Result<(), ReceiptKeysError> {
        let index = self.store.get(RECEIPT_KEYS_INDEX).await?;
        let (mut keys, mut opened, mut forgotten) = (ReceiptKeys::default(), Vec::new(), Vec::new());
        for (key, entry) in self.store.list(RECEIPT_KEYS).await?.entries {
            match self.key_sealer.open_receipt_key(&key, &entry.value) {
                Ok(receipt_key) => {
                    keys.insert(receipt_key, entry.revision);
                    opened.push((key, entry.revision));
                }
                // Replicas of a newer version use it.
                Err(_) if too_new(&key, &entry.value).is_some() => return Ok(()),
                Err(_) => forgotten.push((key, entry.revision)),
            }
        }
        if opened.is_empty() || self.are_abandoned(&keys) {
            forgotten.extend(opened);
            forgotten.extend(index.map(|index| (RECEIPT_KEYS_INDEX.to_owned(), index.revision)));
        }
        if !forgotten.is_empty() {
            tracing::warn!(records = forgotten.len(), "keys of receipts that no replica uses are deleted");
        }
        Ok(self.delete_all(forgotten).await?)
    }
}
