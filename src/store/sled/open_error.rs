//! Why a store is not opened.

use std::io;
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
    /// An operation on the file system failed.
    #[error("the store in {} cannot be opened: {source}", directory.display())]
    Io {
        /// The store's directory.
        directory: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}
