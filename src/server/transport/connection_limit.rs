//! The limit of a listener's connections, and their counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// The limit of a listener's connections, and their counts.
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

    /// The limits of all listeners, in the order in which they are opened.
    pub(in crate::server) fn of_all(forwarded: bool, max_connections: usize) -> Vec<Arc<Self>> {
        let names = ["mtls", "public", "ops"].into_iter().chain(forwarded.then_some("forwarded"));
        names.map(|name| Arc::new(Self::new(name, max_connections))).collect()
    }

    /// Returns a permit for a connection, if the limit is not reached. Dropping it releases the connection's place.
    pub(in crate::server) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        let counted = if place.is_some() { &self.accepted } else { &self.refused };
        counted.fetch_add(1, Ordering::Relaxed);
        place
    }

    /// The name of the listener.
    pub(in crate::server) fn listener(&self) -> &'static str {
        self.listener
    }

    /// The number of open connections.
    pub(in crate::server) fn open(&self) -> u64 {
        u64::try_from(self.most.saturating_sub(self.free.available_permits())).unwrap_or(u64::MAX)
    }

    /// The number of connections accepted so far.
    pub(in crate::server) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The number of connections refused so far.
    pub(in crate::server) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
