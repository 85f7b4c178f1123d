//! How old the snapshot may be that decisions go by. It is as the store was when its watch last told of a change or of its
//! progress; a revocation that was made after that could have been missed, whether the watch broke off or only hangs.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::authority::Authority;
use crate::authority::clock::Timestamp;

/// The store has not been followed for longer than the configuration allows. Nothing can be decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store has not been followed for too long to decide")]
pub struct Stale;

/// From when on the store may have changed unnoticed, in seconds since 1970; [`NEVER`] where there is no such moment.
#[derive(Debug)]
pub(in crate::authority) struct StoreFeed {
    /// When the watch broke off; while there is one, [`NEVER`].
    lost: AtomicU64,
    /// When the watch last told of anything, or when what was read whole was asked for. Before the first time, [`NEVER`].
    heard: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Default for StoreFeed {
    fn default() -> Self {
        Self { lost: AtomicU64::new(NEVER), heard: AtomicU64::new(NEVER) }
    }
}

impl Authority {
    /// The watch of the store has broken off. Of several times in a row the first counts.
    pub fn lost_the_store(&self) {
        let now = self.clock.now().0;
        // Where it is lost already, that stands.
        let _lost_before =
            self.store_feed.lost.compare_exchange(NEVER, now, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// All of the store has been read, and is watched from there on.
    pub fn follows_the_store(&self) {
        self.heard_of_the_store(self.clock.now());
        self.store_feed.lost.store(NEVER, Ordering::Release);
    }

    /// All that was in the store at this moment has been taken in.
    pub(in crate::authority) fn heard_of_the_store(&self, moment: Timestamp) {
        self.store_feed.heard.store(moment.0, Ordering::Release);
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
        let feed = &self.store_feed;
        let since = feed.lost.load(Ordering::Acquire).min(feed.heard.load(Ordering::Acquire));
        (since != NEVER).then(|| Timestamp(since).after(bound))
    }
}
