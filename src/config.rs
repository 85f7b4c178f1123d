//! The configuration: one YAML file, unknown keys refused with their line, overridden by `LANYARD_SECTION__KEY` from the
//! environment. What comes out are values of the rooms' own types; what is wrong is said by the name of the key.

mod environment;
mod federation;
mod file;
pub mod forwarded;
mod jwks_uri;
mod reading;
mod roles;
mod telemetry;
mod workload_api;
pub mod written;

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::Policy;
use crate::authority::clock::NoEntropy;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::sealing::KeyEncryptionKey;
use crate::config::file::File;
use crate::config::forwarded::Forwarded;
use crate::config::written::Written;
use crate::telemetry::otlp;
use crate::tls;
use crate::trust;
use crate::yaml;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::PlainScalars;

/// Everything that a server is started with.
#[derive(Debug)]
pub struct Config {
    /// Whether this is a `lanyard dev` set-up, whose keys are lying about: it listens on loopback only.
    pub dev: bool,
    /// Where it listens.
    pub listeners: Listeners,
    /// The listener behind a terminator, if there is one.
    pub forwarded: Option<Forwarded>,
    /// The door.
    pub tls: tls::Config,
    /// Who vouches for whom.
    pub trust: trust::files::Config,
    /// The Workload API, where one is asked.
    pub workload_api: Option<trust::workload_api::Config>,
    /// Where other trust domains publish their bundles.
    pub federation: Vec<trust::bundle_endpoint::Config>,
    /// How the certificates that clients publish are fetched.
    pub jwks_uri: trust::jwks_uri::Config,
    /// The directory of the embedded store; `None` keeps everything in memory, and loses it at the end.
    pub store: Option<PathBuf>,
    /// What new signing keys sign with.
    pub algorithm: SigningAlgorithm,
    /// What seals them.
    pub key_encryption_key: KeyEncryptionKey,
    /// What the authority goes by.
    pub policy: Policy,
    /// How long a server that stops serves on as before, only that it says that it is not ready: whoever sends it new
    /// connections, such as the endpoints of a Kubernetes Service, takes a while to hear of it.
    pub drain_delay: Duration,
    /// How long connections may take to end when the server stops, after the delay.
    pub drain_timeout: Duration,
    /// The log.
    pub log: crate::telemetry::Config,
    /// Where traces and metrics go besides, if anywhere.
    pub otlp: Option<otlp::Config>,
    /// Where all this is written; `None` where it is not to be read again.
    pub source: Option<Source>,
}

/// A configuration file, and what it said when it was read, the environment included.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What it said.
    pub written: Written,
}

/// The addresses of the three listeners.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// gRPC and OAuth, with a client certificate.
    pub mtls: SocketAddr,
    /// Keys and metadata, for anybody.
    pub public: SocketAddr,
    /// Probes.
    pub ops: SocketAddr,
}

impl Default for Listeners {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { mtls: loopback(8443), public: loopback(8444), ops: loopback(9464) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not YAML, an unknown key, or a value of another type; with the key and the line.
    #[error("{path}: {error}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The problem and its place.
        error: yaml::YamlError,
    },
    /// A variable of the environment sets an unknown key, or a value of another type.
    #[error("the environment: {variable}: {error}")]
    Environment {
        /// Its name.
        variable: String,
        /// The problem.
        error: yaml::YamlError,
    },
    /// A variable of the environment is misspelt.
    #[error("the environment: {variable}: unknown variable, {hint}")]
    UnknownVariable {
        /// Its name.
        variable: String,
        /// The name that is meant.
        hint: String,
    },
    /// A value that cannot stand.
    #[error("{key}: {problem}{}", Suffix(.origin.as_deref()))]
    Value {
        /// The key, such as `trust.trust_domain`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// The file and the line, or the variable of the environment.
        origin: Option<String>,
    },
}

impl ConfigError {
    /// Whether a key or a variable is not known.
    pub(crate) fn is_unknown_key(&self) -> bool {
        match self {
            Self::UnknownVariable { .. } => true,
            Self::Yaml { error, .. } | Self::Environment { error, .. } => error.is_unknown_field(),
            Self::Unreadable { .. } | Self::Value { .. } => false,
        }
    }

    fn of(path: &Path, error: yaml::YamlError) -> Self {
        match error.place() {
            Some(Place::Variable(name)) => Self::Environment { variable: name.to_string(), error },
            Some(Place::Line { .. }) | None => Self::Yaml { path: path.to_owned(), error },
        }
    }

    /// With the place of a value.
    fn located(self, path: &Path, tree: &Node) -> Self {
        let Self::Value { key, problem, origin: None } = self else { return self };
        let origin = match tree.place_of(key) {
            Place::Variable(name) => name.to_string(),
            place @ Place::Line { .. } => format!("{}, {place}", path.display()),
        };
        Self::Value { key, problem, origin: Some(origin) }
    }
}

/// In brackets, if it is there.
struct Suffix<'a>(Option<&'a str>);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(formatter, " ({text})"))
    }
}

/// A configuration as somebody looks at it who starts no server from it: a key-encryption key that cannot be read does not
/// hide the rest.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// All of it. Where the key-encryption key cannot be read, another one that opens nothing is in its place.
    pub(crate) config: Config,
    /// The file of the key-encryption key, if it is in one.
    pub(crate) key_encryption_key_file: Option<PathBuf>,
    /// Why the key-encryption key cannot be read.
    pub(crate) key_encryption_key_error: Option<ConfigError>,
}

/// Reads a configuration file. Relative paths in it start at its own folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let Read { file, folder, tree } = read(path)?;
    let written = yaml::read(&tree).map(|values| Written::of(&values)).map_err(|error| ConfigError::of(path, error))?;
    let key = file.key_encryption_key(folder);
    let config = file.resolve(folder, key).map_err(|error| error.located(path, &tree))?;
    Ok(Config { source: Some(Source { path: path.to_owned(), written }), ..config })
}

/// Reads a configuration file to look at it.
pub(crate) fn inspect(path: &Path) -> Result<Inspected, ConfigError> {
    let Read { file, folder, tree } = read(path)?;
    let key_encryption_key_file = file.key_encryption_key_file(folder);
    let (key, key_encryption_key_error) = match file.key_encryption_key(folder) {
        Ok(key) => (Ok(key), None),
        Err(error) => match KeyEncryptionKey::generate() {
            Ok(stand_in) => (Ok(stand_in), Some(error.located(path, &tree))),
            Err(NoEntropy) => (Err(error), None),
        },
    };
    let config = file.resolve(folder, key).map_err(|error| error.located(path, &tree))?;
    Ok(Inspected { config, key_encryption_key_file, key_encryption_key_error })
}

struct Read<'a> {
    file: File,
    folder: &'a Path,
    tree: Node,
}

fn read(path: &Path) -> Result<Read<'_>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let refused = |error| ConfigError::of(path, error);
    let mut tree = yaml::document(&text, PlainScalars::AreNoText).map_err(refused)?;
    if tree.is_mapping() {
        environment::overlay(&mut tree, env::vars_os(), is_key)?;
    }
    if tree.get("keys").is_some_and(|keys| !keys.is_mapping()) {
        let problem = "is a section: put key_encryption_key_file, or another key of it, below it";
        return Err(value("keys", problem).located(path, &tree));
    }
    let file = yaml::read(&tree).map_err(refused)?;
    Ok(Read { file, folder: path.parent().unwrap_or(Path::new("")), tree })
}

/// Whether the file may have a key. Of a key that it may not have this is the first thing that is said.
fn is_key(keys: &[&str]) -> bool {
    let anything = yaml::variable("", "");
    yaml::read::<File>(&Node::nested(keys, anything)).map_or_else(|error| !error.is_unknown_field(), |_| true)
}

fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned(), origin: None }
}
