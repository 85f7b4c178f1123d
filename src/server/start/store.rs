//! The store, opened, and measured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::clock::Clock;
use crate::authority::store::Store;
use crate::store::disk::Disk;
use crate::store::instrumented::InstrumentedStore;
use crate::store::instrumented::Operations;
use crate::store::memory::MemoryStore;
use crate::store::sled::OpenError;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;

/// How often the disk is looked at, at most.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// The store, and what is measured of it.
#[derive(Debug)]
pub(in crate::server) struct Stored {
    pub(in crate::server) store: Arc<dyn Store>,
    pub(in crate::server) operations: Arc<Operations>,
    /// Not there where the store is in memory.
    pub(in crate::server) disk: Option<Disk>,
}

impl Stored {
    /// Opens the store in a directory, or one in memory.
    pub(super) fn open(directory: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let store: Arc<dyn Store> = match directory {
            Some(directory) => Arc::new(SledStore::open(directory, SledOptions { clock, ..SledOptions::default() })?),
            None => Arc::new(MemoryStore::with_clock(clock)),
        };
        Ok(Self::measure(store, directory.map(|directory| Disk::new(directory.to_owned(), DISK_INTERVAL))))
    }

    /// Counts the operations of a store that is open, and looks at the disk that it is on.
    pub(super) fn measure(store: Arc<dyn Store>, disk: Option<Disk>) -> Self {
        let store = InstrumentedStore::new(store);
        let operations = store.operations();
        Self { store: Arc::new(store), operations, disk }
    }
}
