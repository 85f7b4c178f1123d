//! A store in memory, for tests and benchmarks. It answers like the durable ones; its contents are lost when it is
//! dropped.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

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
use crate::store::packed::Packed;
use crate::store::step::Step;
use crate::store::table::Table;

/// A store in memory. Its futures are ready at the first poll.
#[derive(Debug)]
pub struct MemoryStore {
    table: Arc<Table>,
    writing: Arc<Mutex<()>>,
}

impl MemoryStore {
    /// An empty store at revision 0, whose records expire by the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose records expire by this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { table: Arc::new(Table::new(Packed::default(), Revision(0), clock)), writing: Arc::default() }
    }

    fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_size()?;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.table.revision();
        let next = Revision(newest.0 + 1);
        match Step::of(transaction, next, self.table.now(), |key| self.table.get_even_expired(key))? {
            None => Ok(newest),
            Some(step) => {
                self.table.apply(vec![step]);
                Ok(next)
            }
        }
    }
}

/// Deletes expired records.
fn sweep(table: &Table, writing: &Mutex<()>) {
    let _one_at_a_time = writing.lock().unwrap_or_else(PoisonError::into_inner);
    let (next, now) = (Revision(table.revision().0 + 1), table.now());
    let step = Step::expiry(table.expired(now), next, now, |key| table.get_even_expired(key));
    table.apply(step.into_iter().collect());
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
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
        Box::pin(async move { self.commit(transaction) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        let (table, writing) = (Arc::clone(&self.table), Arc::clone(&self.writing));
        self.table.watch(prefix, from, Box::new(move || sweep(&table, &writing)))
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.table.close();
    }
}
