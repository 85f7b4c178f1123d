//! The open store, with its metrics.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::clock::Clock;
use crate::authority::store::Store;
use crate::config::Config;
use crate::store::disk::Disk;
use crate::store::instrumented::InstrumentedStore;
use crate::store::instrumented::Operations;
use crate::store::memory::MemoryStore;
use crate::store::sled::OpenError;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;

/// The shortest time between two readings of the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// Opens the store of a server that does not run.
pub(crate) fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Stored::open(config.store.as_deref(), clock)?.store)
}

/// The store, and the sources of its metrics.
#[derive(Debug)]
pub(in crate::server) struct Stored {
    pub(in crate::server) store: Arc<dyn Store>,
    pub(in crate::server) operations: Arc<Operations>,
    /// `None` where the store is in memory.
    pub(in crate::server) disk: Option<Disk>,
}

impl Stored {
    /// Opens the store in a directory, or an empty one in memory.
    pub(super) fn open(directory: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let store: Arc<dyn Store> = match directory {
            Some(directory) => Arc::new(SledStore::open(directory, SledOptions { clock, ..SledOptions::default() })?),
            None => Arc::new(MemoryStore::with_clock(clock)),
        };
        Ok(Self::measure(store, directory.map(|directory| Disk::new(directory.to_owned(), DISK_INTERVAL))))
    }

    /// Counts the operations of an open store, and reads the state of its disk.
    pub(super) fn measure(store: Arc<dyn Store>, disk: Option<Disk>) -> Self {
        let store = InstrumentedStore::new(store);
        let operations = store.operations();
        Self { store: Arc::new(store), operations, disk }
    }
}
