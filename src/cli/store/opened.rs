//! The store of a stopped server, by its configuration.

use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;

use crate::authority::clock::SystemClock;
use crate::authority::clock::SystemEntropy;
use crate::authority::keys::KeySealer;
use crate::authority::state::REPLICAS;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::cli::error::CommandError;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::StoreConfig;
use crate::server::StartError;
use crate::server::key_sealer;
use crate::server::open_store;
use crate::store::sled::OpenError;

/// The configuration of a server with a store that outlives it.
pub(super) struct Configured {
    pub(super) config: Config,
    key_error: Option<ConfigError>,
}

impl Configured {
    /// Reads a configuration.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let inspected = config::inspect(path)
            .map_err(|error| CommandError::new(error.to_string(), "fix it, or name another configuration"))?;
        let (config, key_error) = (inspected.config, inspected.key_encryption_key_error);
        if config.store == StoreConfig::Memory {
            let next = "name the configuration of a server whose store is on a disk or in etcd";
            return Err(CommandError::new("the store is in memory", next));
        }
        if config.store.is_of_an_edge() {
            let next = "name the configuration of a server of the centre";
            return Err(CommandError::new("this is the configuration of an edge, which has no store of its own", next));
        }
        Ok(Self { config, key_error })
    }

    /// The directory of the embedded store; an error that says what to do instead for a store in etcd.
    pub(super) fn directory(&self, instead: &str) -> Result<&Path, CommandError> {
        self.config.store.directory().ok_or_else(|| CommandError::new("the store is in etcd", instead))
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
    pub(super) async fn open(&self, in_use: &str) -> Result<Arc<dyn Store>, CommandError> {
        self.check_present()?;
        self.open_or_create(in_use).await
    }

    /// Refuses an embedded store that is not there. One in etcd is there even if it is empty.
    pub(super) fn check_present(&self) -> Result<(), CommandError> {
        let Some(directory) = self.config.store.directory() else { return Ok(()) };
        if directory.join("LOCK").exists() {
            return Ok(());
        }
        let problem = format!("there is no store in {}", directory.display());
        Err(CommandError::new(problem, "see that `store` in the configuration names the right directory"))
    }

    /// Opens a store, or makes an empty one. A store in etcd is in use while it has the heartbeat of a replica: for some
    /// 20 seconds after the last one was killed.
    pub(super) async fn open_or_create(&self, in_use: &str) -> Result<Arc<dyn Store>, CommandError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let opened =
            open_store(&self.config, &provider, Arc::new(SystemClock), Arc::new(SystemEntropy::default())).await;
        let store = opened.map_err(|error| {
            if let StartError::Store(error) = &error {
                return not_open(error, in_use);
            }
            CommandError::new(error.to_string(), "see that a member of etcd can be reached from here")
        })?;
        if self.config.store.directory().is_none() {
            let replicas = store.list(REPLICAS).await.map_err(|error| failed(&error))?.entries;
            if let Some((key, _)) = replicas.first() {
                let replica = key.trim_start_matches(REPLICAS);
                return Err(CommandError::new(format!("the store is used by the replica {replica}"), in_use));
            }
        }
        Ok(store)
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
