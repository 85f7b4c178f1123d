//! Changes of the configuration file while the server runs: a change is applied as a whole or not at all.

use std::collections::BTreeSet;

use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Source;
use crate::trust_sources::files::TrustFileError;

/// The keys that can change without a restart. The log level and the roles are read for each event and each request;
/// the files of bundles and client CAs are read again like their contents. All other settings are fixed in running
/// components, or promised to clients.
const RELOADABLE: [&str; 5] = ["local.proxies", "log.level", "roles", "trust.bundles", "trust.client_cas"];

/// Why the present configuration stays in effect.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum NotApplied {
    /// The configuration is invalid, and a server would not start with it.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// A bundle or client CA that it names cannot be loaded.
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    /// It changes keys that require a restart.
    #[error("restart the server to change {0}")]
    Restart(String),
}

/// The configuration file, and the configuration in effect.
#[derive(Debug)]
pub(in crate::server) struct Followed {
    source: Source,
    /// Whether the file differs from the configuration in effect.
    differs: bool,
    /// The reason that was logged last.
    last_reason: Option<String>,
}

/// A changed configuration that can be applied.
#[derive(Debug)]
pub(in crate::server) struct Change {
    pub(in crate::server) config: Config,
    pub(in crate::server) source: Source,
    /// The keys that change.
    pub(in crate::server) keys: BTreeSet<String>,
}

impl Change {
    /// Whether it names other files of bundles or client CAs.
    pub(in crate::server) fn is_of_trust(&self) -> bool {
        self.keys.iter().any(|key| key.starts_with("trust."))
    }
}

impl Followed {
    pub(in crate::server) fn new(source: Source) -> Self {
        Self { source, differs: false, last_reason: None }
    }

    /// Reads the file and the environment, and returns the change; `None` where there is none.
    pub(in crate::server) fn change(&self) -> Result<Option<Change>, NotApplied> {
        let mut config = config::load_again(&self.source.path)?;
        let Some(source) = config.source.take() else { return Ok(None) };
        let keys = self.source.written.differences(&source.written);
        if keys.is_empty() {
            return Ok(None);
        }
        let is_reloadable = |key: &str| {
            RELOADABLE.iter().any(|reloadable| {
                key.strip_prefix(reloadable).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let others: Vec<&str> = keys.iter().copied().filter(|key| !is_reloadable(key)).collect();
        if !others.is_empty() {
            return Err(NotApplied::Restart(others.join(", ")));
        }
        let keys = keys.into_iter().map(str::to_owned).collect();
        Ok(Some(Change { config, source, keys }))
    }

    /// Records the configuration that is now in effect.
    pub(in crate::server) fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    /// Logs why a configuration is not applied, once for each reason.
    pub(in crate::server) fn refused(&mut self, error: &NotApplied) {
        self.differs = true;
        let text = error.to_string();
        if self.last_reason.as_ref() != Some(&text) {
            tracing::error!(error = %text, "the configuration file is not applied; the old configuration stays");
            self.last_reason = Some(text);
        }
    }

    /// Records that the file agrees with the configuration in effect.
    pub(in crate::server) fn mark_applied(&mut self) {
        self.last_reason = None;
        if std::mem::take(&mut self.differs) {
            tracing::info!("the configuration file and the configuration in effect agree again");
        }
    }

    /// Makes the next failure be logged again, because a SIGHUP asked for a reload.
    pub(in crate::server) fn forget_reason(&mut self) {
        self.last_reason = None;
    }
}
