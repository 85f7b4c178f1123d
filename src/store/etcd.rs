//! The store in etcd, for several replicas.
//!
//! The port's operations are etcd's: comparisons of revisions in a transaction, linearizable reads, watches from a
//! revision. The client is generated from the part of etcd's API that is used here.

mod config;
mod connection;
mod fault;
mod health;
mod leases;
mod proto;
mod reading;
mod transaction;
mod value;
mod version;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Uri;

use crate::authority::clock::Clock;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Listing;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::StoreFuture;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Watch;
pub use crate::store::etcd::config::EtcdConfig;
use crate::store::etcd::connection::Connection;
use crate::store::etcd::leases::Leases;
use crate::store::etcd::watching::BATCHES;
use crate::store::etcd::watching::Watching;
use crate::store::peer::TlsSource;

/// How often etcd is asked whether it answers again.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Why the store in etcd cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// An endpoint is not a URL.
    #[error("store.etcd.endpoints: {0:?} is not a URL")]
    Endpoint(String),
    /// No member answers, or what is stored is not what this version writes.
    #[error("the store in etcd cannot be used: {0}")]
    Store(#[from] StoreError),
}

/// A store in etcd. Dropping it ends its watches.
#[derive(Debug)]
pub struct EtcdStore {
    connection: Arc<Connection>,
    /// What the port's keys are appended to.
    prefix: String,
    leases: Leases,
    clock: Arc<dyn Clock>,
    open: watch::Sender<()>,
    prober: AbortHandle,
}

impl EtcdStore {
    /// Connects to etcd and reads once. The present runtime drives the connections.
    ///
    /// # Errors
    /// No member can be used within the time limit.
    pub async fn open(config: &EtcdConfig, tls: Option<TlsSource>, clock: Arc<dyn Clock>) -> Result<Self, EtcdError> {
        let uri = |text: &String| text.parse::<Uri>().map_err(|_| EtcdError::Endpoint(text.clone()));
        let endpoints = config.endpoints.iter().map(uri).collect::<Result<_, _>>()?;
        // A prefix has no colon. So two prefixes never lead to the same keys, although one may begin with the other.
        let prefix = format!("{}:", config.prefix);
        let connection = Arc::new(Connection::new(endpoints, tls, config.timeout, prefix.clone().into_bytes()));
        let prober = connection.home().spawn(probe(Arc::clone(&connection))).abort_handle();
        let store = Self { connection, prefix, leases: Leases::default(), clock, open: watch::Sender::new(()), prober };
        store.read("").await?;
        Ok(store)
    }

    /// The key in etcd.
    fn place(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }
}

/// While no member answers, tries until one does.
async fn probe(connection: Arc<Connection>) {
    loop {
        connection.health.down().await;
        sleep(PROBE_INTERVAL).await;
        // The outcome is recorded by the call.
        drop(connection.revision().await);
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        Box::pin(async move {
            let (entry, _) = self.read(key).await?;
            Ok(entry.filter(|entry| !entry.has_expired(self.clock.now())))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        Box::pin(self.listing(prefix))
    }

    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions> {
        Box::pin(self.key_revisions(after, limit))
    }

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        Box::pin(self.commit(transaction))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        let (batches, received) = mpsc::channel(BATCHES);
        let watching = Watching {
            connection: Arc::clone(&self.connection),
            place: self.prefix.clone(),
            prefix: self.place(prefix),
            reached: from,
            batches,
            is_interrupted: false,
            store: self.open.subscribe(),
        };
        drop(self.connection.home().spawn(watching.run()));
        Box::pin(ReceiverStream::new(received))
    }

    fn health(&self) -> Result<(), StoreError> {
        self.connection.health.accepts_writes()
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.prober.abort();
    }
}
