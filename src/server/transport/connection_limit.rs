//! The connections that a listener may have, and has.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// The connections that a listener may have, and has.
#[derive(Debug)]
pub(in crate::server) struct ConnectionLimit {
    listener: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionLimit {
    fn new(listener: &'static str, max_connections: usize) -> Self {
        let most = max_connections.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(most));
        Self { listener, most, free, accepted: AtomicU64::default(), refused: AtomicU64::default() }
    }

    /// Those of all listeners, in the order in which they are opened.
    pub(in crate::server) fn of_all(forwarded: bool, max_connections: usize) -> Vec<Arc<Self>> {
        let names = ["mtls", "public", "ops"].into_iter().chain(forwarded.then_some("forwarded"));
        names.map(|name| Arc::new(Self::new(name, max_connections))).collect()
    }

    /// A place for a connection, if there is one; it is free again when this is dropped.
    pub(in crate::server) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        let counted = if place.is_some() { &self.accepted } else { &self.refused };
        counted.fetch_add(1, Ordering::Relaxed);
        place
    }

    /// Which listener's they are.
    pub(in crate::server) fn listener(&self) -> &'static str {
        self.listener
    }

    /// How many connections are open.
    pub(in crate::server) fn open(&self) -> u64 {
        u64::try_from(self.most.saturating_sub(self.free.available_permits())).unwrap_or(u64::MAX)
    }

    /// How many were taken so far.
    pub(in crate::server) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many there was no place for.
    pub(in crate::server) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
