//! How old the snapshot behind a decision may be. It reflects the store at the time when the watch last delivered a
//! change or a progress notification; a later revocation could be missing, whether the watch broke off or only hangs.
//!
//! Of a store that several replicas share, only this replica's own heartbeat proves that, once it comes back on the
//! watch: a member of the store that is cut off from the others still reports progress.

use std::time::Duration;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::Stale;

impl Authority {
    /// Records that the watch of the store has broken off.
    pub fn mark_disconnected(&self) {
        self.store_feed.disconnected(self.clock.elapsed());
    }

    /// Records that the whole store has been read, and is watched from there on.
    pub fn mark_synced(&self) {
        if self.replica.is_none() {
            self.store_feed.progress(self.clock.elapsed());
        }
        self.store_feed.synced();
    }

    /// Whether the snapshot is fresh enough for decisions.
    pub fn freshness(&self) -> Result<(), Stale> {
        self.view().freshness()
    }

    /// How old the snapshot may be: the time since the last moment at which it is known to have contained every change.
    /// `None` before the store was read.
    pub fn staleness(&self) -> Option<Duration> {
        Some(self.clock.elapsed().saturating_sub(self.store_feed.unsure_since()?))
    }

    /// The last moment at which the snapshot may be used for decisions at `now`; `None` if the configuration sets no
    /// bound.
    pub(in crate::authority) fn stale_after(&self, now: Timestamp) -> Option<Timestamp> {
        let bound = self.policy.max_staleness?;
        let age = self.staleness()?;
        Some(match bound.checked_sub(age) {
            Some(left) => now.after(left),
            // At least a second ago.
            None => now.before(age.saturating_sub(bound).max(Duration::from_secs(1))),
        })
    }
}
