//! How old the snapshot behind a decision may be. It reflects the store at the time when the watch last delivered a
//! change or a progress notification; a later revocation could be missing, whether the watch broke off or only hangs.

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::Stale;

impl Authority {
    /// Records that the watch of the store has broken off.
    pub fn mark_disconnected(&self) {
        self.store_feed.disconnected(self.clock.now());
    }

    /// Records that the whole store has been read, and is watched from there on.
    pub fn mark_synced(&self) {
        self.store_feed.synced(self.clock.now());
    }

    /// Whether the snapshot is fresh enough for decisions.
    pub fn freshness(&self) -> Result<(), Stale> {
        self.view().freshness()
    }

    /// The last moment at which the snapshot may be used for decisions; `None` if the configuration sets no bound.
    pub(in crate::authority) fn stale_after(&self) -> Option<Timestamp> {
        let bound = self.policy.max_staleness?;
        self.store_feed.unsure_since().map(|since| since.after(bound))
    }
}
