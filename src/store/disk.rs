//! The disk usage of a store, and the free space of its file system.

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

/// The maximum depth of the directory walk. sled's files are one level down.
const DEPTH: usize = 4;

/// The unit of `st_blocks` in bytes, on every file system (stat(3type)).
const BLOCK: u64 = 512;

/// The disk under a store's directory. It is measured at most once in each interval `every`.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    every: Duration,
    last: Mutex<Option<(Instant, Space)>>,
}

/// Bytes; `None` if they could not be measured.
#[derive(Clone, Copy, Debug)]
struct Space {
    used: Option<u64>,
    free: Option<u64>,
}

impl Disk {
    /// The disk under this directory.
    pub fn new(directory: PathBuf, every: Duration) -> Self {
        Self { directory, every, last: Mutex::default() }
    }

    /// The bytes that the store uses, and those that are free for this process's user. Blocks on the file system.
    pub fn families(&self) -> [Family; 2] {
        let Space { used, free } = self.space();
        let sample = |bytes: Option<u64>| bytes.map(|bytes| (Vec::new(), bytes));
        [
            Family::gauges("lanyard_store_disk_bytes", "What the store's directory takes of its disk", sample(used)),
            Family::gauges("lanyard_store_disk_free_bytes", "What is free on the disk of the store", sample(free)),
        ]
    }

    fn space(&self) -> Space {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((when, space)) if when.elapsed() < self.every => space,
            _ => {
                let file_system = rustix::fs::statvfs(&self.directory).ok();
                let free = file_system.map(|found| found.f_bavail.saturating_mul(found.f_frsize));
                let space = Space { used: used(&self.directory).ok(), free };
                *last = Some((Instant::now(), space));
                space
            }
        }
    }
}

/// The bytes that the files of a directory take.
pub(super) fn used(directory: &Path) -> io::Result<u64> {
    used_to(directory, DEPTH)
}

fn used_to(directory: &Path, depth: usize) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // sled may just have removed the file. A symbolic link is not followed.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK));
        if metadata.is_dir() && depth > 0 {
            // The directory may be gone as well.
            bytes = bytes.saturating_add(used_to(&entry.path(), depth - 1).unwrap_or_default());
        }
    }
    Ok(bytes)
}
