//! A store without a disk, for tests and benches: the same answers as the durable ones, gone when it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::authority::store::Change;
use crate::authority::store::ChangeStream;
use crate::authority::store::Expected;
use crate::authority::store::Listing;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::StoreFuture;
use crate::authority::store::Versioned;
use crate::store::table::Table;
use crate::store::table::Verdict;
use crate::store::table::Write;

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

    fn commit(&self, write: Write) -> Result<Revision, StoreError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.table.revision();
        match write.against(self.table.get(&write.key).map(|entry| entry.revision)) {
            Verdict::Conflict => Err(StoreError::Conflict),
            Verdict::Unchanged => Ok(newest),
            Verdict::Change => {
                let revision = Revision(newest.0 + 1);
                self.table.apply(vec![Change { key: write.key, value: write.value, revision }]);
                Ok(revision)
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

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>, expected: Expected) -> StoreFuture<'a, Revision> {
        Box::pin(async move { self.commit(Write::put(key, value, expected)?) })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Expected) -> StoreFuture<'a, Revision> {
        Box::pin(async move { self.commit(Write::delete(key, expected)?) })
    }

    fn watch(&self, from: Revision) -> ChangeStream {
        self.table.watch(from)
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
