//! Why a store is not opened.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::sled::scan::Damage;

/// Why a store was not opened. On damaged files sled itself may already have dropped what follows the damage: what is to be
/// rescued from them is to be rescued from a copy, or from a backup.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory's lock is held.
    #[error("another process uses the store in {}", directory.display())]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// The directory has content that is not a store's.
    #[error("{} is not empty and holds no store: name an empty directory, or the store's own", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },
    /// There was a store here, and a part of it is missing.
    #[error("the store in {} was emptied, {missing} is missing: restore it from an export or a backup", directory.display())]
    Emptied {
        /// The store's directory.
        directory: PathBuf,
        /// The file that is missing, or what is missing in it.
        missing: &'static str,
    },
    /// The log is older than what was already acknowledged, or that of another store.
    #[error(
        "the log of the store in {} ends at revision {found} of store {found_store}, but revision {marked} of store \
         {marked_store} was reached: it was cut short or replaced, restore it from an export or a backup",
        directory.display()
    )]
    RolledBack {
        /// The store's directory.
        directory: PathBuf,
        /// Where the log ends.
        found: u64,
        /// The store that the log is of.
        found_store: String,
        /// The revision that the mark names.
        marked: u64,
        /// The store that the mark is of.
        marked_store: String,
    },
    /// The files are damaged.
    #[error("the store in {} is damaged: {damage}: restore it from an export or a backup", directory.display())]
    Damaged {
        /// The store's directory.
        directory: PathBuf,
        /// What was found.
        damage: Damage,
    },
    /// Opening did not end.
    #[error(
        "the store in {} did not open within {limit:?}: if the disk answers, its files are damaged, restore it from an \
         export or a backup",
        directory.display()
    )]
    Stuck {
        /// The store's directory.
        directory: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The operating system refused something.
    #[error("the store in {} cannot be opened: {source}", directory.display())]
    Io {
        /// The store's directory.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
