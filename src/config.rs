//! The configuration: one YAML file, unknown keys refused with their line, overridden by `LANYARD_SECTION__KEY` from the
//! environment. What comes out are values of the rooms' own types; what is wrong is said by the name of the key.

pub mod digest;
mod federation;
mod file;
pub mod forwarded;
mod jwks_uri;
mod reading;
mod roles;
mod telemetry;
mod workload_api;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::Env;
use figment::providers::Serialized;
use serde::Deserialize;

use crate::authority::clock::NoEntropy;
use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::policy::Policy;
use crate::config::digest::ConfigDigest;
use crate::config::file::File;
use crate::config::forwarded::Forwarded;
use crate::telemetry::otlp;
use crate::tls;
use crate::trust_sources;

/// All sections. The environment may override what is in them; other `LANYARD_…` variables mean other things.
const SECTIONS: [&str; 18] = [
    "dev",
    "federation",
    "forwarded",
    "issuer",
    "jwks_uri",
    "keys",
    "listeners",
    "log",
    "mtls_url",
    "registration",
    "roles",
    "rotation",
    "store",
    "telemetry",
    "tls",
    "tokens",
    "trust",
    "workload_api",
];

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
    pub trust: trust_sources::files::Config,
    /// The Workload API, where one is asked.
    pub workload_api: Option<trust_sources::workload_api::Config>,
    /// Where other trust domains publish their bundles.
    pub federation: Vec<trust_sources::bundle_endpoint::Config>,
    /// How the certificates that clients publish are fetched.
    pub jwks_uri: trust_sources::jwks_uri::Config,
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
    pub written: ConfigDigest,
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
    /// Not YAML, an unknown key, or a value of another kind; with the line.
    #[error("{path}: {error}")]
    Yaml {
        /// Which file.
        path: PathBuf,
        /// What, and where.
        error: serde_yaml::Error,
    },
    /// An environment variable does not fit.
    #[error("the environment: {0}")]
    Environment(Box<figment::Error>),
    /// A value that cannot stand.
    #[error("{key}: {problem}")]
    Value {
        /// The key, such as `trust.trust_domain`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
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
    let Read { file, folder, written } = read(path)?;
    let key = file.key_encryption_key(folder);
    let config = file.resolve(folder, key)?;
    Ok(Config { source: Some(Source { path: path.to_owned(), written }), ..config })
}

/// Reads a configuration file to look at it.
pub(crate) fn inspect(path: &Path) -> Result<Inspected, ConfigError> {
    let Read { file, folder, .. } = read(path)?;
    let key_encryption_key_file = file.key_encryption_key_file(folder);
    let (key, key_encryption_key_error) = match file.key_encryption_key(folder) {
        Ok(key) => (Ok(key), None),
        Err(error) => match KeyEncryptionKey::generate() {
            Ok(stand_in) => (Ok(stand_in), Some(error)),
            Err(NoEntropy) => (Err(error), None),
        },
    };
    Ok(Inspected { config: file.resolve(folder, key)?, key_encryption_key_file, key_encryption_key_error })
}

struct Read<'a> {
    file: File,
    folder: &'a Path,
    written: ConfigDigest,
}

fn read(path: &Path) -> Result<Read<'_>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let yaml = |error| ConfigError::Yaml { path: path.to_owned(), error };
    // A mapping refuses a key that stands twice, where a map would keep the last.
    let values: serde_yaml::Mapping = serde_yaml::from_str(&text).map_err(yaml)?;
    // Of a key at the top the parser does not tell the line.
    if let Some(key) = values.keys().filter_map(|key| key.as_str()).find(|key| !SECTIONS.contains(key)) {
        let line = text.lines().position(|line| line.starts_with(key)).map_or(1, |before| before + 1);
        let expected = SECTIONS.join(", ");
        let problem = format!("unknown field `{key}` at line {line}, expected one of {expected}");
        return Err(yaml(serde::de::Error::custom(problem)));
    }
    let environment = Env::prefixed("LANYARD_").split("__").filter(|key| {
        SECTIONS.iter().any(|section| {
            let section_of = key.as_str().get(..section.len()).filter(|start| start.eq_ignore_ascii_case(section));
            section_of.is_some()
                && key.as_str().get(section.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    });
    let merged = Figment::from(Serialized::defaults(&values)).merge(environment);
    // What is wrong is quoted, and where a section should be, this could be the key itself.
    if merged.find_value("keys").is_ok_and(|keys| keys.as_dict().is_none()) {
        return Err(value("keys", "is a section: put key_encryption_key_file, or another key of it, below it"));
    }
    let environment = |error| ConfigError::Environment(Box::new(error));
    let file = match merged.extract::<File>() {
        Ok(file) => file,
        // What the file alone gets wrong is said with its line.
        Err(error) => {
            serde_yaml::from_str::<File>(&text).map_err(yaml)?;
            return Err(environment(error));
        }
    };
    let values = merged.extract().map_err(environment)?;
    Ok(Read { file, folder: path.parent().unwrap_or(Path::new("")), written: ConfigDigest::of(&values) })
}

fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned() }
}
