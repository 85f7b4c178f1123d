//! What is fetched, and kept in the store for a time.

use crate::authority::Authority;
use crate::authority::state::Entry;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// What is fetched as it is stored is stored again when this part of the time that it is kept has passed.
pub(in crate::authority::api) const STORED_AGAIN: u32 = 4;

impl Authority {
    /// Writes the record of what was fetched, or deletes it, as the entry says.
    pub(in crate::authority::api) async fn keep_fetched(
        &self,
        key: &str,
        change: Transaction,
        entry: Option<Entry>,
    ) -> Result<(), StoreError> {
        match self.store.transact(change).await {
            Ok(revision) => {
                self.apply_write(key, entry, revision);
                Ok(())
            }
            // Another replica has fetched it too, or the record has just expired: the next fetch decides.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
