//! What an upstream has listed, until it is read, and the stream that goes on after it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::authority::store::Listing;
use crate::authority::store::ListingPart;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Versioned;
use crate::store::upstream::queue::News;
use crate::store::upstream::queue::Queued;

/// A listing of which parts may have been read: these are gone from it.
#[derive(Debug)]
pub(super) struct Held {
    unread: BTreeMap<String, Versioned<Arc<[u8]>>>,
    /// The prefix that was read first. Whoever begins with it again wants another listing; others may be read again, and have
    /// nothing that was not read.
    begun_with: Option<String>,
    pub(super) revision: Revision,
    /// It contains every change until this moment.
    pub(super) until: Duration,
    /// What follows.
    pub(super) news: mpsc::Receiver<Queued>,
}

impl Held {
    /// Receives a whole listing.
    pub(super) async fn receive(mut news: mpsc::Receiver<Queued>) -> Result<Self, StoreError> {
        let mut unread = BTreeMap::new();
        loop {
            let queued = news.recv().await;
            let queued = queued.ok_or_else(|| StoreError::Unavailable("the store is being closed".to_owned()))?;
            match queued.news {
                News::Listed(records) => unread.extend(records.into_iter().filter_map(|record| {
                    let entry =
                        Versioned { value: record.value?.into(), revision: Revision(record.revision), expires: None };
                    Some((record.key, entry))
                })),
                News::Anew => unread.clear(),
                News::Whole(revision, until) => {
                    return Ok(Self { unread, begun_with: None, revision, until, news });
                }
                News::Batch(..) => return Err(StoreError::Unavailable("a change came before the listing".to_owned())),
                News::Over(error) => return Err(error),
            }
        }
    }

    /// Whether what is under this prefix and comes after this key goes on with it.
    pub(super) fn goes_on_with(&self, prefix: &str, after: &str) -> bool {
        !after.is_empty() || self.begun_with.as_deref() != Some(prefix)
    }

    /// Takes the first records under a prefix that come after a key.
    pub(super) fn take(&mut self, prefix: &str, after: &str, limit: usize) -> ListingPart {
        self.begun_with.get_or_insert_with(|| prefix.to_owned());
        let from = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let under = self.unread.range::<str, _>((from, Bound::Unbounded));
        let mut keys: Vec<String> = under
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .take(limit.saturating_add(1))
            .cloned()
            .collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let entries = keys.into_iter().filter_map(|key| self.unread.remove_entry(&key)).collect();
        ListingPart { listing: Listing { entries, revision: self.revision }, more }
    }
}
