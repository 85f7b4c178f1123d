//! Everything that a server is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::policy::Policy;
use crate::config::digest::ConfigDigest;
use crate::config::forwarded::Forwarded;
use crate::telemetry::otlp;
use crate::tls;
use crate::trust_sources;

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
