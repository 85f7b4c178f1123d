//! The embedded store: one process, one directory, sled 0.34 as its log.
//!
//! All records are read into memory at the start, and reads are answered from there; sled is only written to. One
//! thread owns sled. It takes the waiting transactions, up to 512 writes, as one batch, which sled recovers whole or
//! not at all:
//!
//! ```text
//! evaluate -> apply_batch -> flush -> fdatasync -> mark -> apply in memory, wake watchers -> acknowledge
//! ```
//!
//! The directory (created with mode 0700) contains `LOCK`, held while the store is open; `MARK`, which names the store
//! and its last revision; `IMAGE`, what it held when it was closed last ([`image`]); `db`, `conf`, `snap.*` and `blobs`, which are sled's; `set-aside`, snapshots that sled could not
//! open with; and `trial`, `IMAGE.new`, `compact.new` or `compact.ready`, sometimes while opening or after an interruption. Opening takes the rights of group and others from all of them; the
//! binary also sets its umask, for what sled creates later. A backup is a copy of the whole directory while no process
//! uses it. The directory must be on a local file system.

mod compaction;
mod directory;
mod durability;
mod engine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod image;
mod ledger;
mod mark;
mod open_error;
mod opening;
mod recheck;
mod record;
mod replacement;
mod scan;
mod space;
mod watchdog;
mod writer;

use std::io;
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::authority::clock::Clock;
use crate::authority::clock::SystemClock;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Listing;
use crate::authority::store::ListingPart;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::StoreFuture;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Watch;
pub use crate::store::sled::compaction::Compacted;
pub use crate::store::sled::durability::Disk;
pub use crate::store::sled::durability::Durability;
use crate::store::sled::engine::Source;
pub use crate::store::sled::open_error::OpenError;
use crate::store::sled::opening::Opened;
pub use crate::store::sled::record::Flaw;
pub use crate::store::sled::scan::Damage;
use crate::store::sled::scan::STORE_THREAD;
use crate::store::sled::watchdog::Health;
use crate::store::sled::watchdog::Progress;
use crate::store::sled::writer::Request;
use crate::store::sled::writer::Writer;
use crate::store::table::Table;

/// The capacity of the writer's queue in transactions. Further transactions wait for a place.
const QUEUE: usize = 1024;

/// From how many records on there is an image: the log is read in a tenth of a second below.
const IMAGE_FROM: u64 = 10_000;

/// The options of the embedded store. The defaults are for production.
#[derive(Debug)]
pub struct SledOptions {
    /// The timeout of opening, the scan of all records included. On damaged files sled 0.34 can hang indefinitely.
    pub open_limit: Duration,
    /// The timeout of one batch. A store whose batch takes longer is treated as failed.
    pub flush_limit: Duration,
    /// How a batch reaches the disk.
    pub durability: Box<dyn Durability>,
    /// The clock by which records expire.
    pub clock: Arc<dyn Clock>,
    /// From how many records on an image is written at the close, which the next opening reads instead of the log; `None`
    /// where the log itself is read in any case, and no image is written.
    pub image_from: Option<u64>,
}

impl Default for SledOptions {
    fn default() -> Self {
        let (open_limit, flush_limit) = (Duration::from_mins(2), Duration::from_secs(5));
        let (durability, clock) = (Box::new(Disk), Arc::new(SystemClock));
        Self { open_limit, flush_limit, durability, clock, image_from: Some(IMAGE_FROM) }
    }
}

/// A store in a directory of its own. Dropping it finishes the queued writes, closes sled and releases the lock. It
/// blocks meanwhile, for at most twice the flush limit.
#[derive(Debug)]
pub struct SledStore {
    table: Arc<Table>,
    health: Health,
    queue: Option<mpsc::Sender<Request>>,
    // A mutex only so that the store is `Sync`; only `drop` receives.
    closed: Mutex<Receiver<()>>,
    flush_limit: Duration,
    _watchdog: Sender<()>,
}

impl SledStore {
    /// Opens the store in `directory`, or creates it if the directory is empty or does not exist. Blocks for a time
    /// that grows with the number of records, so it must not be called from async code.
    ///
    /// # Errors
    /// Anything that prevents serving exactly what was acknowledged, see [`OpenError`]. After [`OpenError::Stuck`] a
    /// thread that holds the lock is left behind: the process should end.
    pub fn open(directory: &Path, options: SledOptions) -> Result<Self, OpenError> {
        let SledOptions { open_limit, flush_limit, durability, clock, image_from } = options;
        let io = |source: io::Error| OpenError::of_system(directory, source);
        keep_engine_panics_off_stderr();
        let (health, progress) = (Health::new(), Progress::default());
        let (queue, requests) = mpsc::channel(QUEUE);
        let (opening_sender, opening) = sync_channel(1);
        let (closing, closed) = channel::<()>();
        let (stop_sender, stop) = channel();

        let writer = {
            let (directory, health, progress) = (directory.to_owned(), health.clone(), progress.clone());
            move || {
                let _closing = closing;
                let source = if image_from.is_some() { Source::Image } else { Source::Log };
                let mut opened = match opening::open(&directory, source) {
                    Ok(opened) => opened,
                    Err(error) => return drop(opening_sender.send(Err(error))),
                };
                let table = load(&mut opened, clock);
                if opening_sender.send(Ok(Arc::clone(&table))).is_ok() {
                    Writer { directory, opened, table, health, progress, durability, image_from }.run(requests);
                }
            }
        };
        thread::Builder::new().name(STORE_THREAD.to_owned()).spawn(writer).map_err(io)?;
        let table = match opening.recv_timeout(open_limit) {
            Ok(table) => table?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(OpenError::stuck(directory, open_limit));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let damage = Damage::Panic("opening ended without an answer".to_owned());
                return Err(OpenError::damaged(directory, damage));
            }
        };
        watchdog::start(progress, health.clone(), flush_limit, stop).map_err(io)?;
        Ok(Self { table, health, queue: Some(queue), closed: Mutex::new(closed), flush_limit, _watchdog: stop_sender })
    }

    async fn submit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_size()?;
        self.health()?;
        let written = async {
            let (reply, answer) = oneshot::channel();
            let closed = || StoreError::Unavailable("the store was closed".to_owned());
            let queue = self.queue.as_ref().ok_or_else(closed)?;
            queue.send(Request::Transact { transaction, reply }).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        };
        // While the writer hangs it does not answer; the watchdog reports the failure through `health`.
        tokio::select! {
            biased;
            outcome = written => outcome,
            failure = self.health.failed() => Err(failure),
        }
    }
}

impl Store for SledStore {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        Box::pin(async move { Ok(self.table.get(key)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        Box::pin(async move { Ok(self.table.list(prefix)) })
    }

    fn list_part<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, ListingPart> {
        Box::pin(async move { Ok(self.table.list_part(prefix, after, limit)) })
    }

    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions> {
        Box::pin(async move { Ok(self.table.key_revisions(after, limit)) })
    }

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        Box::pin(self.submit(transaction))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        // A watch that outlives its store must not keep the writer running.
        let queue = self.queue.as_ref().map(mpsc::Sender::downgrade);
        let sweep = move || {
            if let Some(queue) = queue.as_ref().and_then(mpsc::WeakSender::upgrade) {
                // If the queue is full, the next tick tries again.
                drop(queue.try_send(Request::Sweep));
            }
        };
        self.table.watch(prefix, from, Box::new(sweep))
    }

    fn health(&self) -> Result<(), StoreError> {
        self.health.health()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The writer drops its end when everything is closed.
        if let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(2 * self.flush_limit) {
            tracing::warn!("the store did not close in time and is left behind");
        }
    }
}

/// Rewrites the files of a store that no process uses, without what was deleted and replaced. It may be interrupted at any
/// moment. Blocks for a time that grows with the number of records, and needs room for a second copy of them.
///
/// # Errors
/// Those of opening the store. It is then as it was.
pub fn compact(directory: &Path) -> Result<Compacted, OpenError> {
    keep_engine_panics_off_stderr();
    let io = |source: io::Error| OpenError::of_system(directory, source);
    let path = directory.to_owned();
    let rewriting = thread::Builder::new().name(STORE_THREAD.to_owned());
    let rewriting = rewriting.spawn(move || compaction::compact(&path)).map_err(io)?;
    let ended = |_| OpenError::damaged(directory, Damage::Panic("rewriting ended without an answer".to_owned()));
    rewriting.join().map_err(ended)?
}

fn load(opened: &mut Opened, clock: Arc<dyn Clock>) -> Arc<Table> {
    Arc::new(Table::new(std::mem::take(&mut opened.entries), opened.ledger.revision, clock))
}

/// sled 0.34 panics on some damaged files. Opening turns the panic into an error with a clear text; a panic message
/// that names a place in sled's sources would mislead the operator.
fn keep_engine_panics_off_stderr() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            if name != STORE_THREAD && !name.starts_with("sled-io-") {
                usual(info);
            }
        }));
    });
}
