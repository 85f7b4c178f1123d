//! The new log that a compaction made takes the place of the old one: when the store is opened next, whatever interrupted it.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::store::sled::directory::Lock;
use crate::store::sled::engine;
use crate::store::sled::mark::Mark;

/// The directory of the new log until it is complete.
pub(super) const NEW: &str = "compact.new";
/// The directory of the new log once it is complete.
pub(super) const READY: &str = "compact.ready";
/// The file in it that says what the log replaces.
pub(super) const REPLACES: &str = "REPLACES";

/// Moves the files of a complete new log to their places, and removes those of one that is not complete. Whoever opens the
/// store calls this, with the lock, before anything is read.
pub(super) fn finish(directory: &Path, mark: &Mark, _lock: &Lock) -> io::Result<()> {
    let ready = directory.join(READY);
    remove(&directory.join(NEW))?;
    if !ready.exists() {
        return Ok(());
    }
    // A version that does not know this directory may have written to the old log since.
    if fs::read_to_string(ready.join(REPLACES)).is_ok_and(|replaced| replaced == replaces(mark)) {
        engine::remove_snapshots(directory)?;
        for name in ["conf", "db"] {
            if ready.join(name).exists() {
                fs::rename(ready.join(name), directory.join(name))?;
            }
        }
        File::open(directory)?.sync_all()?;
    }
    remove(&ready)?;
    File::open(directory)?.sync_all()
}

/// The store and the revision that the new log has too.
pub(super) fn replaces(mark: &Mark) -> String {
    format!("{} {}\n", mark.store, mark.revision.0)
}

/// Removes a directory that may not be there.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
