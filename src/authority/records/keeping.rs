//! Records that expire, and of which there are not too many.

use crate::authority::clock::Timestamp;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// A day in seconds.
pub(in crate::authority) const DAY: u64 = 24 * 60 * 60;

/// The end of the day of a time: in etcd the records of a day then have few leases.
pub(in crate::authority) fn end_of_day(time: Timestamp) -> Timestamp {
    Timestamp(time.0.next_multiple_of(DAY))
}

/// The keys with a prefix, in their order: at most twice as many as are to be kept.
pub(in crate::authority) async fn kept_below(
    store: &dyn Store,
    prefix: &str,
    most: usize,
) -> Result<Vec<String>, StoreError> {
    let kept = store.key_revisions(prefix, 2 * most).await?.keys.into_iter();
    Ok(kept.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).collect())
}

/// Deletes as many of the first keys as there are too many, once there is one more.
pub(in crate::authority) fn make_room<'a>(
    change: Transaction,
    (keys, most): (impl ExactSizeIterator<Item = &'a String>, usize),
) -> Transaction {
    let too_many = (keys.len() + 1).saturating_sub(most);
    keys.take(too_many).fold(change, |change, key| change.delete(key))
}
