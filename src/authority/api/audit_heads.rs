//! The last records of the chains of the audit trail, in the store.

use std::time::Duration;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::observe::AUDIT_HEADS;
use crate::authority::observe::AuditHead;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

/// How long the head of a chain is kept after its last record where the history is kept for a shorter time.
const KEPT: Duration = Duration::from_secs(90 * DAY);

/// How many chains of one host are kept.
const MAX_OF_HOST: usize = 64;

impl Authority {
    /// Keeps the last record of this server's chain in the store, in the place of the one before. Of the chains of one host the
    /// newest are kept: a server that starts and ends all the time does not fill the store.
    pub async fn keep_audit_head(&self, head: &AuditHead) -> Result<(), StoreError> {
        let expires = self.clock.now().after(self.policy.history.max(KEPT));
        // To the end of a day: in etcd the records of a day then have few leases.
        let expires = Timestamp(expires.0.next_multiple_of(DAY));
        let value = head.to_bytes().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let of_host = format!("{AUDIT_HEADS}{}-", head.host());
        let kept = self.store.key_revisions(&of_host, 2 * MAX_OF_HOST).await?.keys.into_iter();
        // The names of a host's chains are in the order of their beginnings.
        let kept: Vec<String> = kept.map(|(key, _)| key).take_while(|key| key.starts_with(&of_host)).collect();
        // The name of another host may begin like this one's.
        let kept: Vec<String> = kept.into_iter().filter(|key| AuditHead::host_in(key) == head.host()).collect();
        let too_many = (kept.len() + 1).saturating_sub(MAX_OF_HOST);
        let old = kept.iter().filter(|key| **key != head.key()).take(too_many);
        let change = Transaction::default().put_until(&head.key(), value, expires);
        self.store.transact(old.fold(change, |change, key| change.delete(key))).await.map(drop)
    }

    /// The last record of each chain, the newest first, at most so many.
    pub async fn audit_heads(&self, limit: usize) -> Result<Vec<AuditHead>, StoreError> {
        let listing = self.store.list(AUDIT_HEADS).await?;
        let heads = listing.entries.iter().filter_map(|(key, stored)| {
            let head = AuditHead::from_bytes(key, &stored.value);
            head.inspect_err(|error| tracing::error!(%error, key, "a head of the audit trail cannot be read")).ok()
        });
        let mut heads: Vec<AuditHead> = heads.collect();
        heads.sort_by(|one, other| (other.time, &other.chain).cmp(&(one.time, &one.chain)));
        heads.truncate(limit);
        Ok(heads)
    }
}
