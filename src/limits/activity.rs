//! When a connection last had a request, and whether it has one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

/// When a connection last had a request.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// In milliseconds of [`super::Shares`].
    pub(super) last: AtomicU64,
    pub(super) under_way: AtomicUsize,
    pub(super) close: Notify,
}

impl Activity {
    pub(super) fn begin(self: &Arc<Self>, now: u64) -> Busy {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

/// A request on a connection, until its answer is sent.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
