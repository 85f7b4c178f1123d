//! A store that records how long its operations take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::authority::observe::Durations;
use crate::authority::observe::Family;
use crate::authority::observe::labels;
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

/// Wraps a store and records the durations of its operations. An operation whose future is dropped before it ends is
/// not recorded.
#[derive(Debug)]
pub struct InstrumentedStore {
    store: Arc<dyn Store>,
    operations: Arc<Operations>,
}

/// The durations of a store's operations. Every transaction is a commit.
#[derive(Debug, Default)]
pub struct Operations {
    get: ByOutcome,
    scan: ByOutcome,
    commit: ByOutcome,
}

#[derive(Debug, Default)]
struct ByOutcome {
    ok: Durations,
    error: Durations,
}

impl InstrumentedStore {
    /// Records the operations of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, operations: Arc::default() }
    }

    /// The recorded durations. They continue to change.
    pub fn operations(&self) -> Arc<Operations> {
        Arc::clone(&self.operations)
    }
}

impl Operations {
    /// The durations as a metric family.
    pub fn family(&self) -> Family {
        let samples = [("get", &self.get), ("scan", &self.scan), ("commit", &self.commit)];
        let samples = samples.into_iter().flat_map(|(operation, durations)| {
            [("ok", &durations.ok), ("error", &durations.error)]
                .map(|(outcome, taken)| (labels([("operation", operation), ("outcome", outcome)]), taken.read()))
        });
        Family::histograms("lanyard_store_operation_duration_seconds", "How long the store took", samples)
    }
}

impl ByOutcome {
    async fn record<T>(&self, operation: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let began = Instant::now();
        let outcome = operation.await;
        let durations = match &outcome {
            // A write that a comparison or a size limit forbids has a proper answer; the store did not fail.
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::TooLarge { .. } | StoreError::TooMany { .. }) => {
                &self.ok
            }
            Err(StoreError::Compacted | StoreError::Unavailable(_)) => &self.error,
        };
        durations.add(began.elapsed());
        outcome
    }
}

impl Store for InstrumentedStore {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        Box::pin(self.operations.get.record(self.store.get(key)))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        Box::pin(self.operations.scan.record(self.store.list(prefix)))
    }

    fn list_part<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, ListingPart> {
        Box::pin(self.operations.scan.record(self.store.list_part(prefix, after, limit)))
    }

    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions> {
        Box::pin(self.operations.scan.record(self.store.key_revisions(after, limit)))
    }

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        Box::pin(self.operations.commit.record(self.store.transact(transaction)))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn delivered_until(&self) -> Option<Duration> {
        self.store.delivered_until()
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}
