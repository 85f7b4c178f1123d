//! The thread that owns sled. It groups transactions, makes each group durable, applies it in memory, and only then
//! acknowledges it.

use std::collections::HashMap;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::authority::store::MAX_TRANSACTION_BYTES;
use crate::authority::store::MAX_TRANSACTION_OPERATIONS;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::store::sled::durability::Durability;
use crate::store::sled::engine;
use crate::store::sled::image;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::opening::Opened;
use crate::store::sled::recheck::Moved;
use crate::store::sled::record;
use crate::store::sled::scan::ReadError;
use crate::store::sled::space;
use crate::store::sled::watchdog::Health;
use crate::store::sled::watchdog::Progress;
use crate::store::step::Entry;
use crate::store::step::Step;
use crate::store::table::Table;

/// The maximum number of writes in one batch.
const BATCH_WRITES: usize = 512;
/// The maximum size of a batch in bytes: half of one of sled's segments. sled reuses a segment once its content is in a
/// later one by `sync_file_range`; with small batches an `fdatasync` comes between the two.
const BATCH_BYTES: usize = 256 * 1024;

// Each transaction fits into a batch.
const _: () = assert!(MAX_TRANSACTION_BYTES <= BATCH_BYTES && MAX_TRANSACTION_OPERATIONS <= BATCH_WRITES);

/// How long the writer waits for a write between two pieces of the log that it reads again, so that it takes a tenth of a core at most
/// while the server starts: a million records take some three minutes.
const RECHECK_PAUSE: Duration = Duration::from_millis(20);

/// A request to the writer.
#[derive(Debug)]
pub(super) enum Request {
    /// A transaction whose caller waits for the reply.
    Transact { transaction: Transaction, reply: Reply },
    /// Deletes expired records.
    Sweep,
}

impl Request {
    /// The number of writes and of bytes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Transact { transaction, .. } => (transaction.writes().len(), transaction.bytes()),
            // A deletion writes keys only.
            Self::Sweep => (MAX_TRANSACTION_OPERATIONS, 0),
        }
    }
}

type Reply = oneshot::Sender<Result<Revision, StoreError>>;

/// The state of the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) opened: Opened,
    pub(super) table: Arc<Table>,
    pub(super) health: Health,
    pub(super) progress: Progress,
    pub(super) durability: Box<dyn Durability>,
    /// From how many records on an image is written at the close.
    pub(super) image_from: Option<u64>,
}

impl Writer {
    /// Serves until all senders of `queue` are dropped and it is empty; then closes sled and releases the lock.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut left_over = None;
        while let Some(first) = left_over.take().or_else(|| self.next(&mut queue)) {
            let (mut writes, mut bytes) = first.size();
            let mut requests = vec![first];
            while let Ok(next) = queue.try_recv() {
                let (more_writes, more_bytes) = next.size();
                writes += more_writes;
                bytes += more_bytes;
                if writes > BATCH_WRITES || bytes > BATCH_BYTES {
                    left_over = Some(next);
                    break;
                }
                requests.push(next);
            }
            self.serve(requests);
        }
        self.close();
    }

    /// Waits for the next request, and meanwhile reads the log again where that is still to be done; `None` at the close.
    fn next(&mut self, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        if self.opened.recheck.is_some()
            && let Ok(timer) = runtime::Builder::new_current_thread().enable_time().build()
        {
            // One piece in any case, so that writes without a pause do not keep it from being read.
            self.recheck();
            while self.opened.recheck.is_some() {
                match timer.block_on(async { tokio::time::timeout(RECHECK_PAUSE, queue.recv()).await }) {
                    Ok(request) => return request,
                    Err(_) => self.recheck(),
                }
            }
        }
        queue.blocking_recv()
    }

    /// Reads a piece of the log again. Damage stops all writes: what is in memory is whole, and can be exported.
    fn recheck(&mut self) {
        let Opened { db, ledger, recheck, .. } = &mut self.opened;
        let Some(reading) = recheck else { return };
        let read = panic::catch_unwind(AssertUnwindSafe(|| reading.read_on(db, ledger)));
        let problem = match read {
            Ok(Ok(false)) => return,
            Ok(Ok(true)) => {
                *recheck = None;
                return tracing::info!("the store's log was read again, and is what its image said");
            }
            Ok(Err(ReadError::Damaged(damage))) => damage.to_string(),
            Ok(Err(ReadError::System(error))) => error.to_string(),
            Err(_) => "the storage engine panicked".to_owned(),
        };
        *recheck = None;
        self.health.fail(&format!(
            "the log is damaged, export the store from this server before it ends, and import that into an empty directory: \
             {problem}"
        ));
    }

    fn serve(&mut self, requests: Vec<Request>) {
        let mut plan = Plan::after(&self.opened.ledger);
        let mut answers = Vec::with_capacity(requests.len());
        let space = space::check(&self.directory, 0);
        for request in requests {
            match request {
                Request::Transact { transaction, reply } => {
                    let may_write = if transaction.takes_away() { Ok(()) } else { space.clone() };
                    answers.push((reply, may_write.and_then(|()| plan.add(transaction, &self.table))));
                }
                Request::Sweep => plan.sweep(&self.table),
            }
        }
        let outcome = self.commit(plan);
        for (reply, answer) in answers {
            // A conflict may be with a transaction of the same batch, so it is only reported if the batch was stored. A
            // caller that no longer waits gets no reply; its write stays stored.
            drop(reply.send(outcome.clone().and(answer)));
        }
    }

    fn commit(&mut self, plan: Plan) -> Result<(), StoreError> {
        self.health.health()?;
        if plan.steps.is_empty() {
            return Ok(());
        }
        let Plan { batch, ledger, steps, moved, .. } = plan;
        self.progress.step();
        let stored = panic::catch_unwind(AssertUnwindSafe(|| self.store(batch, ledger)));
        self.progress.step();
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.health.fail(&format!("a write to the disk failed: {error}")),
            Err(_) => self.health.fail("the storage engine panicked during a write"),
        }
        // A batch that completes after the watchdog declared the store failed is not acknowledged either.
        self.health.health()?;
        if let Some(recheck) = &mut self.opened.recheck {
            recheck.follow(&moved);
        }
        self.table.apply(steps);
        Ok(())
    }

    fn store(&mut self, mut batch: ::sled::Batch, ledger: Ledger) -> io::Result<()> {
        let Opened { db, log, mark, .. } = &mut self.opened;
        batch.insert(LEDGER_KEY, ledger.encode()?);
        db.apply_batch(batch)?;
        self.durability.flush(&mut || db.flush().map(drop).map_err(io::Error::from))?;
        self.durability.sync(&mut || log.sync_data())?;
        mark.advance(ledger.revision)?;
        self.opened.ledger = ledger;
        Ok(())
    }

    fn close(self) {
        let Opened { db, mut mark, ledger, lock, .. } = self.opened;
        self.table.close();
        let is_healthy = self.health.health().is_ok();
        if is_healthy && let Err(error) = mark.settle(ledger.revision) {
            tracing::warn!(%error, "the mark was not synced at the close");
        }
        let closed = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
        if closed.is_err() || engine::wait_until_free(&self.directory).is_err() {
            tracing::warn!(directory = %self.directory.display(), "the storage engine did not close");
        }
        if is_healthy
            && self.image_from.is_some_and(|from| from <= ledger.records)
            && let Err(error) = self.table.with_entries(|entries| image::write(&self.directory, &ledger, entries))
        {
            tracing::warn!(%error, "the store's image was not written: the next start reads the log");
        }
        drop(lock);
    }
}

/// One batch, evaluated and encoded but not yet written.
struct Plan {
    batch: ::sled::Batch,
    ledger: Ledger,
    steps: Vec<Step>,
    /// The new entries of the keys that this batch changes.
    pending: HashMap<String, Option<Entry>>,
    moved: Vec<Moved>,
}

impl Plan {
    fn after(ledger: &Ledger) -> Self {
        let (batch, ledger) = (::sled::Batch::default(), ledger.clone());
        Self { batch, ledger, steps: Vec::new(), pending: HashMap::new(), moved: Vec::new() }
    }

    /// Evaluates a transaction as if those before it were done, and adds it to the batch if it succeeds.
    fn add(&mut self, transaction: Transaction, table: &Table) -> Result<Revision, StoreError> {
        let next = Revision(self.ledger.revision.0 + 1);
        match Step::of(transaction, next, table.now(), |key| self.present(key, table))? {
            None => Ok(self.ledger.revision),
            Some(step) => {
                self.push(step, table).map_err(|error| StoreError::Unavailable(error.to_string()))?;
                Ok(next)
            }
        }
    }

    /// Adds the deletion of expired records to the batch.
    fn sweep(&mut self, table: &Table) {
        let (next, now) = (Revision(self.ledger.revision.0 + 1), table.now());
        let step = Step::expiry(table.expired(now), next, now, |key| self.present(key, table));
        if let Some(Err(error)) = step.map(|step| self.push(step, table)) {
            tracing::error!(%error, "expired records cannot be deleted");
        }
    }

    fn present(&self, key: &str, table: &Table) -> Option<Entry> {
        self.pending.get(key).cloned().unwrap_or_else(|| table.get_even_expired(key))
    }

    /// Adds a whole step to the batch, or nothing of it.
    fn push(&mut self, step: Step, table: &Table) -> Result<(), serde_json::Error> {
        let encoded = step.changes.iter().map(|(key, entry)| {
            let encode = |entry: Entry| record::encode(key, entry.revision, entry.expires, &entry.value);
            let old = self.present(key, table).map(encode).transpose()?;
            let new = entry.clone().map(encode).transpose()?;
            Ok((old, new))
        });
        let encoded: Vec<_> = encoded.collect::<Result<_, serde_json::Error>>()?;
        for (old, new) in encoded {
            if let Some(place) = old.as_ref().or(new.as_ref()).map(|encoded| encoded.place) {
                let [old, new] = [&old, &new].map(|encoded| encoded.as_ref().map(|encoded| encoded.checksum));
                self.moved.push(Moved { place, old, new });
            }
            if let Some(old) = old {
                self.ledger.remove(&old.checksum);
                old.chunks().for_each(|(place, _)| self.batch.remove(place.as_slice()));
            }
            if let Some(new) = new {
                self.ledger.add(&new.checksum);
                // Within a batch the last operation on a key is the one in effect: a key that was removed above is
                // written again here.
                new.chunks().for_each(|(place, chunk)| self.batch.insert(place.as_slice(), chunk));
            }
        }
        self.ledger.revision = step.revision;
        self.pending.extend(step.changes.iter().cloned());
        self.steps.push(step);
        Ok(())
    }
}
