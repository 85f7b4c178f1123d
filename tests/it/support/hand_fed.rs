//! A store whose watch says what the test says, and hangs in between.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::stream::unfold;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Versioned;
use lanyard::authority::store::Watch;
use lanyard::store::memory::MemoryStore;
use tokio::sync::mpsc;
use tokio::sync::watch;

/// A store in memory with one watch that is fed by hand.
#[derive(Debug)]
pub struct HandFed {
    store: MemoryStore,
    feed: mpsc::UnboundedSender<Batch>,
    batches: Mutex<Option<mpsc::UnboundedReceiver<Batch>>>,
    /// How often the watcher has asked for a batch: what it got before, it has done with.
    asked: watch::Sender<u64>,
}

impl HandFed {
    pub fn new() -> Arc<Self> {
        let (feed, batches) = mpsc::unbounded_channel();
        let (store, asked) = (MemoryStore::new(), watch::Sender::new(0));
        Arc::new(Self { store, feed, batches: Mutex::new(Some(batches)), asked })
    }

    /// Gives the watcher this batch, and returns when it is done with it.
    pub async fn tell(&self, batch: Batch) {
        let mut asked = self.asked.subscribe();
        let before = *asked.wait_for(|asked| *asked > 0).await.unwrap();
        self.feed.send(batch).unwrap();
        asked.wait_for(|asked| *asked > before).await.unwrap();
    }

    /// Tells that all there is has been delivered.
    pub async fn tell_progress(&self) {
        let revision = self.store.list("").await.unwrap().revision;
        self.tell(Batch { revision, changes: Vec::new() }).await;
    }
}

impl Store for HandFed {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        self.store.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        self.store.list(prefix)
    }

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
