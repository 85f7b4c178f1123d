//! How far the snapshot may lag behind the store.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::clock::Timestamp;

/// The store has not been followed for longer than the configuration allows. Nothing can be decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store has not been followed for too long to decide")]
pub struct Stale;

/// From when on the store may have changed unnoticed, in seconds since 1970; [`NEVER`] where there is no such moment.
#[derive(Debug)]
pub(in crate::authority) struct StoreFeed {
    /// When the watch broke off; while there is one, [`NEVER`].
    disconnected: AtomicU64,
    /// When the watch last delivered a batch, or when what was read whole was asked for. Before the first time, [`NEVER`].
    last_progress: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Default for StoreFeed {
    fn default() -> Self {
        Self { disconnected: AtomicU64::new(NEVER), last_progress: AtomicU64::new(NEVER) }
    }
}

impl StoreFeed {
    /// The watch broke off. Of several times in a row the first counts.
    pub(in crate::authority) fn disconnected(&self, now: Timestamp) {
        let _already = self.disconnected.compare_exchange(NEVER, now.0, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// The store has been read whole, and is watched from there on.
    pub(in crate::authority) fn synced(&self, now: Timestamp) {
        self.progress(now);
        self.disconnected.store(NEVER, Ordering::Release);
    }

    /// All that was in the store at this moment is in the snapshot.
    pub(in crate::authority) fn progress(&self, moment: Timestamp) {
        self.last_progress.store(moment.0, Ordering::Release);
    }

    /// From when on a change may have been missed, if there is such a moment.
    pub(in crate::authority) fn unsure_since(&self) -> Option<Timestamp> {
        let since = self.disconnected.load(Ordering::Acquire).min(self.last_progress.load(Ordering::Acquire));
        (since != NEVER).then_some(Timestamp(since))
    }
}
