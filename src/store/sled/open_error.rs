//! Why a store is not opened.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::sled::scan::Damage;

/// Why a store was not opened. On damaged files sled itself may already have dropped everything after the damage. Data
/// must be recovered from a copy or a backup.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory's lock is held.
    #[error("another process uses the store in {}", directory.display())]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// The directory contains files that are not a store's.
    #[error("{} is not empty and holds no store: name an empty directory, or the store's own", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },
    /// There was a store here, and part of it is missing.
    #[error("the store in {} was emptied, {missing} is missing: restore it from an export or a backup", directory.display())]
    Emptied {
        /// The store's directory.
        directory: PathBuf,
        /// The missing file, or what is missing in it.
        missing: &'static str,
    },
    /// The log is older than what was already acknowledged, or belongs to another store.
    #[error(
        "the log of the store in {} ends at revision {found} of store {found_store}, but revision {marked} of store \
         {marked_store} was reached: it was cut short or replaced, restore it from an export or a backup",
        directory.display()
    )]
    RolledBack {
        /// The store's directory.
        directory: PathBuf,
        /// The log's last revision.
        found: u64,
        /// The store that the log belongs to.
        found_store: String,
        /// The revision in the mark.
        marked: u64,
        /// The store that the mark belongs to.
        marked_store: String,
    },
    /// The files are damaged.
    #[error("the store in {} is damaged: {damage}: restore it from an export or a backup", directory.display())]
    Damaged {
        /// The store's directory.
        directory: PathBuf,
        /// The damage that was found.
        damage: Damage,
    },
    /// Opening did not end within the limit.
    #[error(
        "the store in {} did not open within {limit:?}: if the disk answers, its files are damaged, restore it from an \
         export or a backup",
        directory.display()
    )]
    Stuck {
        /// The store's directory.
        directory: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The disk is full. What is stored is not affected.
    #[error(
        "the store in {} cannot be opened: no space is left on its disk: free some or enlarge the volume, and start again; \
         a restore would lose what was written since the backup",
        directory.display()
    )]
    NoSpace {
        /// The store's directory.
        directory: PathBuf,
    },
    /// An operation on the file system failed.
    #[error("the store in {} cannot be opened: {source}", directory.display())]
    Io {
        /// The store's directory.
        directory: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The least free space with which a failure of the engine is not attributed to a full disk, in bytes: a few pages.
const LEAST_FREE: u64 = 64 * 1024;

impl OpenError {
    /// The same error of the store in `original`, which is in a copy of it.
    #[must_use]
    pub fn in_directory(mut self, original: &Path) -> Self {
        let (Self::InUse { directory }
        | Self::Foreign { directory }
        | Self::Emptied { directory, .. }
        | Self::RolledBack { directory, .. }
        | Self::Damaged { directory, .. }
        | Self::Stuck { directory, .. }
        | Self::NoSpace { directory }
        | Self::Io { directory, .. }) = &mut self;
        original.clone_into(directory);
        self
    }

    /// The system refused an operation.
    pub(super) fn of_system(directory: &Path, source: io::Error) -> Self {
        let directory = directory.to_owned();
        let is_full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if is_full { Self::NoSpace { directory } } else { Self::Io { directory, source } }
    }

    /// The files are damaged, unless the engine failed because the disk is full: it then panics or reports an error of
    /// its own. If they are damaged too, the next start says so.
    pub(super) fn damaged(directory: &Path, damage: Damage) -> Self {
        let of_engine = match damage {
            Damage::Engine(_) | Damage::Panic(_) => true,
            Damage::Record { .. } | Damage::Ledger | Damage::Sum { .. } | Damage::Mark => false,
        };
        if of_engine && is_full(directory) {
            return Self::NoSpace { directory: directory.to_owned() };
        }
        Self::Damaged { directory: directory.to_owned(), damage }
    }

    /// Opening did not end in time, which may be because the disk is full.
    pub(super) fn stuck(directory: &Path, limit: Duration) -> Self {
        let directory = directory.to_owned();
        if is_full(&directory) { Self::NoSpace { directory } } else { Self::Stuck { directory, limit } }
    }
}

/// Whether the file system has no more room for a page or a file. Some file systems do not count files.
fn is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|found| {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        free < LEAST_FREE || (found.f_files > 0 && found.f_favail == 0)
    })
}
