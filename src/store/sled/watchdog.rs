//! Whether the store still takes writes, and the thread that notices when a flush hangs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::store::StoreError;

/// Into how many looks the watchdog divides the time limit: a hang is noticed after the limit and at most one look more.
const LOOKS: u32 = 5;

/// Whether writes are taken. The first failure stays.
#[derive(Clone, Debug)]
pub(super) struct Health {
    failure: Arc<watch::Sender<Option<String>>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { failure: Arc::new(watch::Sender::new(None)) }
    }

    /// Stops all writes, now and later.
    pub(super) fn fail(&self, reason: &str) {
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.to_owned());
            first
        });
        if first {
            tracing::error!(reason, "the store takes no more writes until the process is started again");
        }
    }

    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.failure.borrow().clone().map_or(Ok(()), |reason| Err(StoreError::Unavailable(reason)))
    }

    /// Waits for a failure; for ever, if none comes.
    pub(super) async fn failed(&self) -> StoreError {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => StoreError::Unavailable(reason.clone().unwrap_or_default()),
            Err(_) => StoreError::Unavailable("the store was closed".to_owned()),
        }
    }
}

/// Counts the batches that began and ended: odd while one is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn batch_on_its_way(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|count| count % 2 == 1)
    }
}

/// Starts a thread that fails `health` when one batch takes longer than `limit`. It ends when the sender of `stop` is
/// dropped.
///
/// # Errors
/// If no thread can be started.
pub(super) fn watch_over(
    progress: Progress,
    health: Health,
    limit: Duration,
    stop: mpsc::Receiver<()>,
) -> io::Result<()> {
    let look = move || {
        let mut seen = None;
        let mut looks = 0;
        while let Err(mpsc::RecvTimeoutError::Timeout) = stop.recv_timeout(limit / LOOKS) {
            let current = progress.batch_on_its_way();
            looks = if current.is_some() && current == seen { looks + 1 } else { 0 };
            seen = current;
            if looks == LOOKS {
                return health.fail(&format!("a write to the disk took longer than {limit:?}"));
            }
        }
    };
    thread::Builder::new().name("lanyard-store-watchdog".to_owned()).spawn(look).map(drop)
}
