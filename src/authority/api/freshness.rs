//! How old the snapshot behind a decision may be. It reflects the store at the time when the watch last delivered a
//! change or a progress notification; a later revocation could be missing, whether the watch broke off or only hangs.
//!
//! Of a store that several replicas share, only this replica's own heartbeat proves that, once it comes back on the
//! watch: a member of the store that is cut off from the others still reports progress.

use std::time::Duration;

use crate::authority::Authority;
use crate::authority::state::Decidable;
use crate::authority::state::Undecidable;

impl Authority {
    /// Records that the watch of the store has broken off.
    pub fn mark_disconnected(&self) {
        self.store_feed.disconnected(self.clock.elapsed());
    }

    /// Records that the whole store has been read, and is watched from there on.
    pub fn mark_synced(&self) {
        if self.replica.is_none() {
            self.store_feed.progress(self.delivered_until());
        }
        self.store_feed.synced();
    }

    /// The moment up to which what the store has delivered contains every change, where this replica's own heartbeat does not
    /// prove it.
    pub(in crate::authority::api) fn delivered_until(&self) -> Duration {
        self.store.delivered_until().unwrap_or_else(|| self.clock.elapsed())
    }

    /// Whether the snapshot is fresh enough for decisions about a resource without a bound of its own.
    pub fn freshness(&self) -> Result<(), Undecidable> {
        self.view().freshness(None)
    }

    /// Whether decisions can be made: about all resources, or only about those with a longer bound.
    pub fn decidable(&self) -> Result<Decidable, Undecidable> {
        let view = self.view();
        let (shortest, longest) = view.bounds().unzip();
        view.freshness(longest)?;
        Ok(if view.freshness(shortest).is_ok() { Decidable::All } else { Decidable::Some })
    }

    /// How old the snapshot may be: the time since the last moment at which it is known to have contained every change.
    /// `None` before the store was read.
    pub fn staleness(&self) -> Option<Duration> {
        Some(self.clock.elapsed().saturating_sub(self.store_feed.unsure_since()?))
    }
}
