//! The one thread that owns sled: it groups writes, makes each group durable, shows it, and only then acknowledges it.

use std::collections::HashMap;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::authority::store::Change;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Versioned;
use crate::store::sled::durability::Durability;
use crate::store::sled::engine;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::opening::Opened;
use crate::store::sled::record;
use crate::store::sled::watchdog::Health;
use crate::store::sled::watchdog::Progress;
use crate::store::table::Entry;
use crate::store::table::Table;
use crate::store::table::Verdict;
use crate::store::table::Write;

/// The most writes in one batch.
const BATCH_WRITES: usize = 512;
/// When a batch is full by size: half of one of sled's segments. sled reuses a segment once its content is in a later one
/// by `sync_file_range`; small batches put our own sync between the two.
const BATCH_BYTES: usize = 256 * 1024;

/// A write and the one who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<Revision, StoreError>>;

/// What the writer works with.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) opened: Opened,
    pub(super) table: Arc<Table>,
    pub(super) health: Health,
    pub(super) progress: Progress,
    pub(super) durability: Box<dyn Durability>,
}

impl Writer {
    /// Serves until all senders of `queue` are gone and it is empty; then closes sled and lets go of the lock.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.write.bytes();
            let mut requests = vec![first];
            while requests.len() < BATCH_WRITES && bytes < BATCH_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.write.bytes();
                requests.push(next);
            }
            self.serve(requests);
        }
        self.close();
    }

    fn serve(&mut self, requests: Vec<Request>) {
        let mut plan = Plan::after(&self.opened.ledger);
        let mut answers = Vec::with_capacity(requests.len());
        for Request { write, reply } in requests {
            answers.push((reply, plan.add(write, &self.table)));
        }
        let outcome = self.commit(plan);
        for (reply, answer) in answers {
            // A conflict may be with a write of the same batch: it too is only true if the batch was stored. Whoever has
            // stopped waiting gets no answer; the write stands.
            drop(reply.send(outcome.clone().and(answer)));
        }
    }

    fn commit(&mut self, plan: Plan) -> Result<(), StoreError> {
        self.health.health()?;
        if plan.changes.is_empty() {
            return Ok(());
        }
        let Plan { batch, ledger, changes, .. } = plan;
        self.progress.step();
        let stored = panic::catch_unwind(AssertUnwindSafe(|| self.store(batch, ledger)));
        self.progress.step();
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.health.fail(&format!("a write to the disk failed: {error}")),
            Err(_) => self.health.fail("the storage engine gave up in the middle of a write"),
        }
        // A batch that came through after the watchdog had given it up is not acknowledged either.
        self.health.health()?;
        self.table.apply(changes);
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
        if self.health.health().is_ok()
            && let Err(error) = mark.settle(ledger.revision)
        {
            tracing::warn!(%error, "the mark was not synced at the close");
        }
        let closed = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
        if closed.is_err() || engine::wait_until_free(&self.directory).is_err() {
            tracing::warn!(directory = %self.directory.display(), "the storage engine did not close");
        }
        drop(lock);
    }
}

/// One batch, judged and encoded; nothing of it is done yet.
struct Plan {
    batch: ::sled::Batch,
    ledger: Ledger,
    changes: Vec<Change>,
    /// What will stand at the keys that this batch changes.
    pending: HashMap<String, Option<Entry>>,
}

impl Plan {
    fn after(ledger: &Ledger) -> Self {
        let (batch, ledger) = (::sled::Batch::default(), ledger.clone());
        Self { batch, ledger, changes: Vec::new(), pending: HashMap::new() }
    }

    /// Judges one more write as if those before it were done, and takes it in if it is to be done.
    fn add(&mut self, write: Write, table: &Table) -> Result<Revision, StoreError> {
        let present = match self.pending.get(&write.key) {
            Some(pending) => pending.clone(),
            None => table.get(&write.key),
        };
        match write.against(present.as_ref().map(|entry| entry.revision)) {
            Verdict::Conflict => Err(StoreError::Conflict),
            Verdict::Unchanged => Ok(self.ledger.revision),
            Verdict::Change => self.change(write, present).map_err(|error| StoreError::Unavailable(error.to_string())),
        }
    }

    fn change(&mut self, write: Write, present: Option<Entry>) -> Result<Revision, serde_json::Error> {
        let Write { key, value, .. } = write;
        let revision = Revision(self.ledger.revision.0 + 1);
        let old = present.map(|old| record::encode(&key, old.revision, &old.value)).transpose()?;
        let new = value.as_deref().map(|value| record::encode(&key, revision, value)).transpose()?;
        if let Some(old) = old {
            self.ledger.remove(&old.checksum);
            old.chunks().for_each(|(place, _)| self.batch.remove(place.as_slice()));
        }
        if let Some(new) = new {
            self.ledger.add(&new.checksum);
            // Within a batch the last word on a place counts: what was removed above is written anew here.
            new.chunks().for_each(|(place, chunk)| self.batch.insert(place.as_slice(), chunk));
        }
        self.ledger.revision = revision;
        let entry = value.clone().map(|value| Versioned { value, revision });
        self.pending.insert(key.clone(), entry);
        self.changes.push(Change { key, value, revision });
        Ok(revision)
    }
}
