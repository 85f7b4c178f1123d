//! Many writes as transactions of the size that every store accepts.

use crate::authority::store::MAX_TRANSACTION_BYTES;
use crate::authority::store::MAX_TRANSACTION_OPERATIONS;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// Collects the writes of different keys, each with its comparison, and makes them in as few transactions as it may.
pub(super) struct Batches<'a> {
    store: &'a dyn Store,
    waiting: Transaction,
    count: usize,
    bytes: usize,
}

impl<'a> Batches<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Self {
        Self { store, waiting: Transaction::default(), count: 0, bytes: 0 }
    }

    /// Adds the comparison and the write of a key; `value` is the size of what is written.
    pub(super) async fn add(
        &mut self,
        key: &str,
        value: usize,
        write: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<(), StoreError> {
        // A key is in the comparison and in the write.
        let bytes = 2 * key.len() + value;
        if self.count == MAX_TRANSACTION_OPERATIONS || self.bytes + bytes > MAX_TRANSACTION_BYTES {
            self.flush().await?;
        }
        self.waiting = write(std::mem::take(&mut self.waiting));
        self.count += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Makes the writes that wait.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.count, self.bytes) = (0, 0);
        if waiting.writes().is_empty() { Ok(()) } else { self.store.transact(waiting).await.map(drop) }
    }
}
