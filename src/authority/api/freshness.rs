//! How old the snapshot may be that decisions go by. It is as the store while the store is followed; from the moment at which
//! that breaks off, a revocation could have been missed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::state::FOLLOWED;
use crate::authority::state::Stale;

impl Authority {
    /// The watch of the store has broken off. Of several times in a row the first counts.
    pub fn mark_disconnected(&self) {
        let now = self.clock.now().0;
        // Where it is lost already, that stands.
        let _lost_before =
            self.lost_since.0.compare_exchange(FOLLOWED, now, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// All of the store has been read, and is watched from there on.
    pub fn mark_synced(&self) {
        self.lost_since.0.store(FOLLOWED, Ordering::Release);
    }

    /// Whether the snapshot may be gone by. Without a bound in the configuration it always may.
    pub fn freshness(&self) -> Result<(), Stale> {
        let over = self.stale_after().is_some_and(|last| self.clock.now() > last);
        if over { Err(Stale) } else { Ok(()) }
    }

    /// How long an allowance made now may be kept: not beyond the bound.
    pub(in crate::authority) fn verdict_ttl(&self, now: Timestamp) -> Duration {
        let ttl = self.policy.verdict_ttl;
        self.stale_after().map_or(ttl, |last| ttl.min(now.until(last)))
    }

    /// The last moment at which the snapshot may be gone by, where there is one.
    fn stale_after(&self) -> Option<Timestamp> {
        let bound = self.policy.max_staleness?;
        let since = self.lost_since.0.load(Ordering::Acquire);
        (since != FOLLOWED).then(|| Timestamp(since).after(bound))
    }
}
