//! How old the snapshot may be that decisions go by. It is as the store was when its watch last delivered a change or its
//! progress; a revocation that was made after that could have been missed, whether the watch broke off or only hangs.

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::Stale;

impl Authority {
    /// The watch of the store has broken off.
    pub fn mark_disconnected(&self) {
        self.store_feed.disconnected(self.clock.now());
    }

    /// All of the store has been read, and is watched from there on.
    pub fn mark_synced(&self) {
        self.store_feed.synced(self.clock.now());
    }

    /// Whether decisions may go by the snapshot.
    pub fn freshness(&self) -> Result<(), Stale> {
        self.view().freshness()
    }

    /// The last moment at which decisions may go by the snapshot. Without a bound in the configuration there is none.
    pub(in crate::authority) fn stale_after(&self) -> Option<Timestamp> {
        let bound = self.policy.max_staleness?;
        self.store_feed.unsure_since().map(|since| since.after(bound))
    }
}
