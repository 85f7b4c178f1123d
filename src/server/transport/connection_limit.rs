//! The limit of a listener's connections, and their counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::limits::Reserve;
use crate::server::descriptors::FurtherListeners;
use crate::server::descriptors::Permitted;

/// The limit of a listener's connections, and their counts.
#[derive(Debug)]
pub(in crate::server) struct ConnectionLimit {
    listener: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    reserve: Arc<Reserve>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionLimit {
    fn new(listener: &'static str, max_connections: usize) -> Self {
        let most = max_connections.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(most));
        let reserve = Arc::new(Reserve::new(most));
        Self { listener, most, free, reserve, accepted: AtomicU64::default(), refused: AtomicU64::default() }
    }

    /// The limits of all listeners, in the order in which they are opened.
    pub(in crate::server) fn of_all(further: FurtherListeners, permitted: Permitted) -> Vec<Arc<Self>> {
        let Permitted { mtls, public, ops, forwarded, local } = permitted;
        let listeners = [("mtls", mtls), ("public", public), ("ops", ops)];
        let listeners = listeners.into_iter().chain(further.forwarded.then_some(("forwarded", forwarded)));
        let listeners = listeners.chain(further.local.then_some(("local", local)));
        listeners.map(|(name, most)| Arc::new(Self::new(name, most))).collect()
    }

    /// Returns a permit for a connection, if the limit is not reached. Dropping it releases the connection's place. At
    /// the limit, `make_room` is asked to end another connection, whose permit is waited for up to `timeout` if it does.
    pub(in crate::server) async fn take(
        &self,
        make_room: impl FnOnce() -> bool,
        timeout: Duration,
    ) -> Option<OwnedSemaphorePermit> {
        let place = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) if make_room() => {
                let freed = tokio::time::timeout(timeout, Arc::clone(&self.free).acquire_owned()).await;
                freed.ok().and_then(Result::ok)
            }
            Err(_) => None,
        };
        let counted = if place.is_some() { &self.accepted } else { &self.refused };
        counted.fetch_add(1, Ordering::Relaxed);
        place
    }

    /// The places of the listener that any caller may have.
    pub(in crate::server) fn reserve(&self) -> Arc<Reserve> {
        Arc::clone(&self.reserve)
    }

    /// The name of the listener.
    pub(in crate::server) fn listener(&self) -> &'static str {
        self.listener
    }

    /// The most connections that may be open.
    pub(in crate::server) fn most(&self) -> usize {
        self.most
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
