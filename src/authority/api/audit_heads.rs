//! The last records of the chains of the audit trail, in the store.

use std::time::Duration;

use crate::authority::Authority;
use crate::authority::observe::AUDIT_HEADS;
use crate::authority::observe::AuditHead;
use crate::authority::records::DAY;
use crate::authority::records::end_of_day;
use crate::authority::records::kept_below;
use crate::authority::records::make_room;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How long the head of a chain is kept after its last record where the history is kept for a shorter time.
const KEPT: Duration = Duration::from_secs(90 * DAY);

/// How many chains of one host are kept.
const MAX_OF_HOST: usize = 64;

impl Authority {
    /// Keeps the last record of this server's chain in the store, in the place of the one before. Of the chains of one host the
    /// newest are kept: a server that starts and ends all the time does not fill the store.
    pub async fn keep_audit_head(&self, head: &AuditHead) -> Result<(), StoreError> {
        let expires = end_of_day(self.clock.now().after(self.policy.history.max(KEPT)));
        let value = head.to_bytes().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let of_host = format!("{AUDIT_HEADS}{}-", head.host());
        // The names of a host's chains are in the order of their beginnings.
        let mut kept = kept_below(&*self.store, &of_host, MAX_OF_HOST).await?;
        // The name of another host may begin like this one's.
        kept.retain(|key| AuditHead::host_in(key) == head.host() && *key != head.key());
        let change = Transaction::default().put_until(&head.key(), value, expires);
        self.store.transact(make_room(change, (kept.iter(), MAX_OF_HOST))).await.map(drop)
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
