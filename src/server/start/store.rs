//! The open store, with its metrics.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::authority::clock::Clock;
use crate::authority::store::Store;
use crate::config::StoreConfig;
use crate::server::error::StartError;
use crate::store::disk::Disk;
use crate::store::etcd::EtcdStore;
use crate::store::etcd::EtcdTls;
use crate::store::etcd::TlsSource;
use crate::store::instrumented::InstrumentedStore;
use crate::store::instrumented::Operations;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;
use crate::tls::CertificateFiles;
use crate::tls::outbound;

/// The shortest time between two readings of the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// The store, and the sources of its metrics.
#[derive(Debug)]
pub(in crate::server) struct Stored {
    pub(in crate::server) store: Arc<dyn Store>,
    pub(in crate::server) operations: Arc<Operations>,
    /// `None` where the store is in memory.
    pub(in crate::server) disk: Option<Disk>,
}

impl Stored {
    /// Opens the configured store.
    pub(super) async fn open(
        config: &StoreConfig,
        provider: &Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let disk = config.directory().map(|directory| Disk::new(directory.to_owned(), DISK_INTERVAL));
        Ok(Self::measure(open(config, provider, clock).await?, disk))
    }

    /// Counts the operations of an open store, and reads the state of its disk.
    pub(super) fn measure(store: Arc<dyn Store>, disk: Option<Disk>) -> Self {
        let store = InstrumentedStore::new(store);
        let operations = store.operations();
        Self { store: Arc::new(store), operations, disk }
    }
}

/// Opens the configured store. Opening the embedded one blocks.
pub(crate) async fn open(
    config: &StoreConfig,
    provider: &Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Store>, StartError> {
    Ok(match config {
        StoreConfig::Sled(directory) => {
            Arc::new(SledStore::open(directory, SledOptions { clock, ..SledOptions::default() })?)
        }
        StoreConfig::Memory => Arc::new(MemoryStore::with_clock(clock)),
        StoreConfig::Etcd(config) => {
            let tls = config.tls.clone().map(|files| tls_of(files, Arc::clone(provider), Arc::clone(&clock)));
            Arc::new(EtcdStore::open(config, tls, clock).await?)
        }
    })
}

/// The TLS configuration for connections to etcd.
fn tls_of(files: EtcdTls, provider: Arc<CryptoProvider>, clock: Arc<dyn Clock>) -> TlsSource {
    let EtcdTls { ca, client } = files;
    let client = client.map(|(certificate, key)| CertificateFiles { certificate, key });
    Arc::new(move || {
        let config = outbound::mutual_config(&ca, client.as_ref(), Arc::clone(&provider), Arc::clone(&clock));
        config.map(Arc::new).map_err(|error| error.to_string())
    })
}
