//! The configuration file while the server serves: what may change is taken, all of it or nothing.

use std::collections::BTreeSet;

use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Source;
use crate::telemetry::InvalidLevel;
use crate::trust_sources::files::TrustFileError;

/// What takes no restart. The log's level and the roles are asked anew for each event and each request; which files vouch
/// for whom changes like what is in them. Everything else is built into what serves, or promised to clients.
const TAKEN: [&str; 4] = ["log.level", "roles", "trust.bundles", "trust.client_cas"];

/// Why the present configuration stays.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum NotTaken {
    /// No server would start from it.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// The log's level is none.
    #[error(transparent)]
    Level(#[from] InvalidLevel),
    /// A bundle or client CA that it names.
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    /// It changes what takes a restart.
    #[error("restart the server to change {0}")]
    Restart(String),
}

/// The file, and what of it the server goes by.
#[derive(Debug)]
pub(in crate::server) struct Followed {
    source: Source,
    /// Whether the file is another one than the server goes by.
    differs: bool,
    /// The reason that the log gave last.
    said: Option<String>,
}

/// Another configuration that may be taken.
#[derive(Debug)]
pub(in crate::server) struct Change {
    pub(in crate::server) config: Config,
    pub(in crate::server) source: Source,
    /// The keys that change.
    pub(in crate::server) keys: BTreeSet<String>,
}

impl Change {
    /// Whether it names other files of bundles and client CAs.
    pub(in crate::server) fn is_of_trust(&self) -> bool {
        self.keys.iter().any(|key| key.starts_with("trust."))
    }
}

impl Followed {
    pub(in crate::server) fn new(source: Source) -> Self {
        Self { source, differs: false, said: None }
    }

    /// Reads the file, with what the environment says beside it, and tells what would change; `None` where nothing does.
    pub(in crate::server) fn change(&self) -> Result<Option<Change>, NotTaken> {
        let mut config = config::load(&self.source.path)?;
        let Some(source) = config.source.take() else { return Ok(None) };
        let keys = self.source.written.differences(&source.written);
        if keys.is_empty() {
            return Ok(None);
        }
        let is_taken = |key: &str| {
            TAKEN
                .iter()
                .any(|taken| key.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        let others: Vec<&str> = keys.iter().copied().filter(|key| !is_taken(key)).collect();
        if !others.is_empty() {
            return Err(NotTaken::Restart(others.join(", ")));
        }
        let keys = keys.into_iter().map(str::to_owned).collect();
        Ok(Some(Change { config, source, keys }))
    }

    /// The server goes by another configuration now.
    pub(in crate::server) fn taken(&mut self, source: Source) {
        self.source = source;
    }

    /// Logs why a configuration is not taken, once as long as the reason stays.
    pub(in crate::server) fn refused(&mut self, error: &NotTaken) {
        self.differs = true;
        let text = error.to_string();
        if self.said.as_ref() != Some(&text) {
            tracing::error!(error = %text, "the configuration file is not taken; the old configuration stays");
            self.said = Some(text);
        }
    }

    /// The file and the server agree.
    pub(in crate::server) fn agreed(&mut self) {
        self.said = None;
        if std::mem::take(&mut self.differs) {
            tracing::info!("the configuration file and what the server goes by agree again");
        }
    }

    /// Says again what is still wrong, to whoever asks by SIGHUP.
    pub(in crate::server) fn asked(&mut self) {
        self.said = None;
    }
}
