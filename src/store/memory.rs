//! A store without a disk, for tests and benches: the same answers as the durable ones, gone when it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::authority::store::Listing;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::StoreFuture;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Watch;
use crate::store::step::Step;
use crate::store::table::Table;

/// A store that holds everything in memory. Its futures are ready at the first poll.
#[derive(Debug)]
pub struct MemoryStore {
    table: Arc<Table>,
    writing: Mutex<()>,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self { table: Arc::new(Table::new(BTreeMap::new(), Revision(0))), writing: Mutex::new(()) }
    }

    fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_size()?;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.table.revision();
        let next = Revision(newest.0 + 1);
        match Step::of(transaction, next, |key| self.table.get(key))? {
            None => Ok(newest),
            Some(step) => {
                self.table.apply(vec![step]);
                Ok(next)
            }
        }
    }
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

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        Box::pin(async move { self.commit(transaction) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.table.watch(prefix, from)
    }

    fn standing(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.table.close();
    }
}
