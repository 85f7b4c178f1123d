//! How far the snapshot may lag behind the store.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::clock::Timestamp;

/// The snapshot has not been confirmed by the store for longer than the configuration allows. No decision can be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Stale;

impl Stale {
    /// The fixed sentence that the caller gets.
    pub fn sentence(self) -> &'static str {
        "the store has not been followed for too long to decide"
    }
}

/// Since when the store may have changes that were not received, in seconds since 1970; [`NEVER`] where there is no
/// such time.
#[derive(Debug)]
pub(in crate::authority) struct StoreFeed {
    /// When the watch was disconnected; [`NEVER`] while it is connected.
    disconnected: AtomicU64,
    /// When the watch last delivered a batch, or when the last full read began. [`NEVER`] before the first.
    last_progress: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Default for StoreFeed {
    fn default() -> Self {
        Self { disconnected: AtomicU64::new(NEVER), last_progress: AtomicU64::new(NEVER) }
    }
}

impl StoreFeed {
    /// Records that the watch was disconnected. Of several times in a row the first is kept.
    pub(in crate::authority) fn disconnected(&self, now: Timestamp) {
        let _already = self.disconnected.compare_exchange(NEVER, now.0, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// Records that the store has been read completely, and is watched from this revision on.
    pub(in crate::authority) fn synced(&self, now: Timestamp) {
        self.progress(now);
        self.disconnected.store(NEVER, Ordering::Release);
    }

    /// Records that the snapshot contains every change up to this moment.
    pub(in crate::authority) fn progress(&self, moment: Timestamp) {
        self.last_progress.store(moment.0, Ordering::Release);
    }

    /// Since when a change may have been missed; `None` where none can have been.
    pub(in crate::authority) fn unsure_since(&self) -> Option<Timestamp> {
        let since = self.disconnected.load(Ordering::Acquire).min(self.last_progress.load(Ordering::Acquire));
        (since != NEVER).then_some(Timestamp(since))
    }
}
