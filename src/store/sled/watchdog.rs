//! The health of the store, and the thread that detects a hanging flush.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::store::StoreError;

/// The number of checks within the time limit. A hang is detected after the limit plus at most one check interval.
const CHECKS: u32 = 5;

/// Whether the store accepts writes. The first failure is permanent.
#[derive(Clone, Debug)]
pub(super) struct Health {
    failure: Arc<watch::Sender<Option<String>>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { failure: Arc::new(watch::Sender::new(None)) }
    }

    /// Stops all writes permanently.
    pub(super) fn fail(&self, reason: &str) {
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.to_owned());
            first
        });
        if first {
            tracing::error!(reason, "the store accepts no more writes until the process is restarted");
        }
    }

    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.failure.borrow().clone().map_or(Ok(()), |reason| Err(StoreError::Unavailable(reason)))
    }

    /// Waits for a failure, indefinitely if none occurs.
    pub(super) async fn failed(&self) -> StoreError {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => StoreError::Unavailable(reason.clone().unwrap_or_default()),
            Err(_) => StoreError::Unavailable("the store was closed".to_owned()),
        }
    }
}

/// Counts the starts and ends of batches: odd while a batch is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn batch_in_progress(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|count| count % 2 == 1)
    }
}

/// Starts a thread that fails `health` if one batch takes longer than `limit`. The thread ends when the sender of
/// `stop` is dropped.
///
/// # Errors
/// If the thread cannot be started.
pub(super) fn start(progress: Progress, health: Health, limit: Duration, stop: mpsc::Receiver<()>) -> io::Result<()> {
    let watch = move || {
        let mut seen = None;
        let mut unchanged = 0;
        while let Err(mpsc::RecvTimeoutError::Timeout) = stop.recv_timeout(limit / CHECKS) {
            let current = progress.batch_in_progress();
            unchanged = if current.is_some() && current == seen { unchanged + 1 } else { 0 };
            seen = current;
            if unchanged == CHECKS {
                return health.fail(&format!("a write to the disk took longer than {limit:?}"));
            }
        }
    };
    thread::Builder::new().name("lanyard-store-watchdog".to_owned()).spawn(watch).map(drop)
}
