//! How old the snapshot may be that decisions go by. It is as the store was when its watch last delivered a change or its
//! progress; a revocation that was made after that could have been missed, whether the watch broke off or only hangs.

use std::time::Duration;

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

    /// Whether decisions may go by the snapshot. Without a bound in the configuration they always may.
    pub fn freshness(&self) -> Result<(), Stale> {
        let over = self.stale_after().is_some_and(|last| self.clock.now() > last);
        if over { Err(Stale) } else { Ok(()) }
    }

    /// How long an allowance made now may be kept: not beyond the bound.
    pub(in crate::authority) fn verdict_ttl(&self, now: Timestamp) -> Duration {
        let ttl = self.policy.verdict_ttl;
        self.stale_after().map_or(ttl, |last| ttl.min(now.until(last)))
    }

    /// The last moment at which decisions may go by the snapshot, where there is one.
    fn stale_after(&self) -> Option<Timestamp> {
        let bound = self.policy.max_staleness?;
        self.store_feed.unsure_since().map(|since| since.after(bound))
    }
}
