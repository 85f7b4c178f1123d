//! A store whose watch delivers what the test sends, and waits in between.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::stream::unfold;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Watch;
use lanyard::store::memory::MemoryStore;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::support::stores::reads_of_the_store;

/// An in-memory store with one watch that the test feeds.
#[derive(Debug)]
pub struct HandFed {
    store: MemoryStore,
    feed: mpsc::UnboundedSender<Batch>,
    batches: Mutex<Option<mpsc::UnboundedReceiver<Batch>>>,
    /// How many batches the watcher has requested: it has processed those before.
    asked: watch::Sender<u64>,
}

impl HandFed {
    pub fn new() -> Arc<Self> {
        let (feed, batches) = mpsc::unbounded_channel();
        let (store, asked) = (MemoryStore::new(), watch::Sender::new(0));
        Arc::new(Self { store, feed, batches: Mutex::new(Some(batches)), asked })
    }

    /// Sends this batch to the watcher, and returns when it is processed.
    pub async fn deliver(&self, batch: Batch) {
        let mut asked = self.asked.subscribe();
        let before = *asked.wait_for(|asked| *asked > 0).await.unwrap();
        self.feed.send(batch).unwrap();
        asked.wait_for(|asked| *asked > before).await.unwrap();
    }

    /// Reports that everything has been delivered.
    pub async fn deliver_progress(&self) {
        let revision = self.store.list("").await.unwrap().revision;
        self.deliver(Batch { revision, changes: Vec::new() }).await;
    }
}

impl Store for HandFed {
    reads_of_the_store!();

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        self.store.transact(transaction)
    }

    fn watch(&self, _: &str, _: Revision) -> Watch {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it is watched once");
        Box::pin(unfold((batches, self.asked.clone()), async |(mut batches, asked)| {
            asked.send_modify(|asked| *asked += 1);
            let batch = batches.recv().await?;
            Some((Ok(batch), (batches, asked)))
        }))
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}
