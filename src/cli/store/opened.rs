//! The store of a stopped server, by its configuration.

use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::authority::clock::SystemClock;
use crate::authority::keys::KeySealer;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::cli::error::CommandError;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::server::key_sealer;
use crate::server::open_store;
use crate::store::sled::OpenError;

/// The configuration of a server with a store that outlives it.
pub(super) struct Configured {
    pub(super) config: Config,
    /// The store's directory.
    pub(super) directory: PathBuf,
    key_error: Option<ConfigError>,
}

impl Configured {
    /// Reads a configuration.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let inspected = config::inspect(path)
            .map_err(|error| CommandError::new(error.to_string(), "fix it, or name another configuration"))?;
        let config = inspected.config;
        let directory = config.store.clone().ok_or_else(|| {
            CommandError::new("the store is in memory", "name the configuration of a server whose store is on a disk")
        })?;
        Ok(Self { config, directory, key_error: inspected.key_encryption_key_error })
    }

    /// Opens the signing keys in the store.
    pub(super) fn sealer(&self) -> Result<KeySealer, CommandError> {
        match &self.key_error {
            None => Ok(key_sealer(self.config.key_encryption_keys.clone())),
            Some(error) => {
                Err(CommandError::new(error.to_string(), "give the key that the signing keys are sealed with"))
            }
        }
    }

    /// Opens a store that is there, and no server uses; `in_use` is the next step if one does.
    pub(super) fn open(&self, in_use: &str) -> Result<Arc<dyn Store>, CommandError> {
        self.check_present()?;
        self.open_or_create(in_use)
    }

    /// Refuses a store that is not there.
    pub(super) fn check_present(&self) -> Result<(), CommandError> {
        if self.directory.join("LOCK").exists() {
            return Ok(());
        }
        let problem = format!("there is no store in {}", self.directory.display());
        Err(CommandError::new(problem, "see that `store` in the configuration names the right directory"))
    }

    /// Opens a store, or makes an empty one.
    pub(super) fn open_or_create(&self, in_use: &str) -> Result<Arc<dyn Store>, CommandError> {
        open_store(&self.config, Arc::new(SystemClock)).map_err(|error| not_open(&error, in_use))
    }
}

/// The error for a store that was not opened.
pub(super) fn not_open(error: &OpenError, in_use: &str) -> CommandError {
    let next = match error {
        OpenError::InUse { .. } => in_use,
        OpenError::NoSpace { .. } => "free some space on that disk; nothing that is stored is lost",
        OpenError::Foreign { .. }
        | OpenError::Emptied { .. }
        | OpenError::RolledBack { .. }
        | OpenError::Damaged { .. }
        | OpenError::Stuck { .. }
        | OpenError::Io { .. } => "`lanyard doctor` checks the store",
    };
    CommandError::new(error.to_string(), next)
}

/// The error for a store that failed.
pub(super) fn failed(error: &StoreError) -> CommandError {
    CommandError::new(error.to_string(), "see that the disk has room and works; `lanyard doctor` checks it")
}

/// Whether a process holds the store's lock. The lock is acquired and released at once. A server that starts in that
/// moment is refused and is restarted by its supervisor.
pub(in crate::cli) fn is_in_use(directory: &Path) -> io::Result<bool> {
    let lock = match File::open(directory.join("LOCK")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => lock.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
