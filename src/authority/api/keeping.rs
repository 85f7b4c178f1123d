//! What the store keeps for a time: records that expire, of which there are not too many, and what is fetched.

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::Entry;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// A day in seconds.
pub(in crate::authority::api) const DAY: u64 = 24 * 60 * 60;

/// What is fetched as it is stored is stored again when this part of the time that it is kept has passed.
pub(in crate::authority::api) const STORED_AGAIN: u32 = 4;

/// The end of the day of a time: in etcd the records of a day then have few leases.
pub(in crate::authority::api) fn end_of_day(time: Timestamp) -> Timestamp {
    Timestamp(time.0.next_multiple_of(DAY))
}

/// The keys with a prefix, in their order: at most twice as many as are to be kept.
pub(in crate::authority::api) async fn kept_below(
    store: &dyn Store,
    prefix: &str,
    most: usize,
) -> Result<Vec<String>, StoreError> {
    let kept = store.key_revisions(prefix, 2 * most).await?.keys.into_iter();
    Ok(kept.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).collect())
}

/// Deletes as many of the first keys as there are too many, once there is one more.
pub(in crate::authority::api) fn make_room<'a>(
    change: Transaction,
    (keys, most): (impl ExactSizeIterator<Item = &'a String>, usize),
) -> Transaction {
    let too_many = (keys.len() + 1).saturating_sub(most);
    keys.take(too_many).fold(change, |change, key| change.delete(key))
}

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
