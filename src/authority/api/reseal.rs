//! Sealing the signing keys and the receipt keys under another key-encryption key.

use crate::authority::Authority;
use crate::authority::api::signing_keys::ATTEMPTS;
use crate::authority::decision::KeyChangeError;
use crate::authority::decision::Resealed;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::records::ChangeRecord;
use crate::authority::reference::Refused;
use crate::authority::state::Caller;
use crate::authority::state::Entry;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

impl Authority {
    /// Seals all keys under the present key-encryption key, one after the other. Each remains readable at any moment, by
    /// this key or by one before it.
    pub async fn reseal_keys(&self, caller: &Caller) -> Result<Resealed, Refused<KeyChangeError>> {
        self.reseal(caller).await.map_err(|error| self.record_key_change_refused(caller, error))
    }

    async fn reseal(&self, caller: &Caller) -> Result<Resealed, KeyChangeError> {
        let (by, mut done) = (caller.identity.to_string(), Resealed::default());
        let mut failed = None;
        let mut places = Vec::new();
        for prefix in [KEYS, RECEIPT_KEYS] {
            places.extend(self.store.list(prefix).await?.entries.into_iter().map(|(place, _)| place));
        }
        for _ in 0..ATTEMPTS {
            for place in std::mem::take(&mut places) {
                match self.reseal_one(&place, &by).await {
                    Ok(Some(true)) => done.resealed += 1,
                    Ok(Some(false)) => done.already += 1,
                    // It was changed at the same time.
                    Ok(None) => places.push(place),
                    Err(error @ KeyChangeError::Unavailable) => return Err(error),
                    Err(error) => failed = Some(error),
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None if places.is_empty() => Ok(done),
            None => Err(KeyChangeError::Contended),
        }
    }

    /// Whether a record was sealed anew; `None` where it was changed meanwhile.
    async fn reseal_one(&self, place: &str, by: &str) -> Result<Option<bool>, KeyChangeError> {
        let Some(stored) = self.store.get(place).await? else { return Ok(Some(false)) };
        let unusable = |error| KeyChangeError::unreadable(place, error);
        if place.starts_with(RECEIPT_KEYS) {
            return match self.key_sealer.reseal_receipt_key(&stored.value).map_err(unusable)? {
                Some(resealed) => self.write_resealed(place, stored.revision, resealed).await,
                None => Ok(Some(false)),
            };
        }
        let record = KeyRecord::from_bytes(&stored.value).map_err(|error| unusable(error.into()))?;
        let Some(resealed) = self.key_sealer.reseal(&record).map_err(unusable)? else { return Ok(Some(false)) };
        let bytes = resealed.to_bytes().map_err(|error| unusable(error.into()))?;
        let change = Transaction::default().compare(place, Expected::At(stored.revision)).put(place, bytes);
        let state = Some(record.stage.label());
        let kept = ChangeRecord::new("resealed", (by, self.clock.now(), None), (state, state));
        let change = self.with_change(place, &kept, change).await?;
        match self.store.transact(change).await {
            Ok(revision) => {
                let key = self.keys().named(record.key_id()).map(|(key, _)| key.in_stage(record.stage.clone()));
                if let Some(key) = key {
                    self.apply_write(place, Some(Entry::SigningKey(key)), revision);
                }
                self.record_key_changed((Some(by), None), record.key_id(), "resealed", None, revision);
                Ok(Some(true))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record of a receipt key; `None` where it was changed meanwhile. The watch brings it into the snapshot.
    async fn write_resealed(
        &self,
        place: &str,
        read: Revision,
        resealed: Vec<u8>,
    ) -> Result<Option<bool>, KeyChangeError> {
        match self.store.put(place, resealed, Expected::At(read)).await {
            Ok(_) => Ok(Some(true)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
