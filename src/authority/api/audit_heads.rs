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

impl Authority {
    /// Keeps the last record of this server's chain in the store, in the place of the one before.
    pub async fn keep_audit_head(&self, head: &AuditHead) -> Result<(), StoreError> {
        let expires = self.clock.now().after(self.policy.history.max(KEPT));
        // To the end of a day: in etcd the records of a day then have few leases.
        let expires = Timestamp(expires.0.next_multiple_of(DAY));
        let value = head.to_bytes().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.store.transact(Transaction::default().put_until(&head.key(), value, expires)).await.map(drop)
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
