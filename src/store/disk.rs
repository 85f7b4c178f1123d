//! How much of its disk a store uses, and how much is left of it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::authority::observe::Family;

/// How deep the directory is looked into. sled's files lie one level down.
const DEPTH: usize = 4;

/// What `st_blocks` counts in, on every file system (stat(3type)).
const BLOCK: u64 = 512;

/// The disk under a store's directory, looked at no more often than every so often.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    every: Duration,
    seen: Mutex<Option<(Instant, Space)>>,
}

/// Bytes; `None` for what could not be found out.
#[derive(Clone, Copy, Debug)]
struct Space {
    used: Option<u64>,
    free: Option<u64>,
}

impl Disk {
    /// The disk under this directory.
    pub fn new(directory: PathBuf, every: Duration) -> Self {
        Self { directory, every, seen: Mutex::default() }
    }

    /// What the store uses, and what is free for this process's user. Looks at the disk, and waits for it.
    pub fn families(&self) -> [Family; 2] {
        let Space { used, free } = self.space();
        let sample = |bytes: Option<u64>| bytes.map(|bytes| (Vec::new(), bytes));
        [
            Family::gauges("lanyard_store_disk_bytes", "What the store's directory takes of its disk", sample(used)),
            Family::gauges("lanyard_store_disk_free_bytes", "What is free on the disk of the store", sample(free)),
        ]
    }

    fn space(&self) -> Space {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((when, space)) if when.elapsed() < self.every => space,
            _ => {
                let file_system = rustix::fs::statvfs(&self.directory).ok();
                let free = file_system.map(|found| found.f_bavail.saturating_mul(found.f_frsize));
                let space = Space { used: used(&self.directory, DEPTH).ok(), free };
                *seen = Some((Instant::now(), space));
                space
            }
        }
    }
}

fn used(directory: &Path, depth: usize) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A file that sled has just removed is none; a symbolic link is not followed.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK));
        if metadata.is_dir() && depth > 0 {
            // Nor is a folder.
            bytes = bytes.saturating_add(used(&entry.path(), depth - 1).unwrap_or_default());
        }
    }
    Ok(bytes)
}
