//! The complete settings of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::policy::Policy;
use crate::authority::registration::JwksUri;
use crate::authority::trust::TrustedIssuer;
use crate::config::digest::ConfigDigest;
use crate::config::forwarded::Forwarded;
use crate::config::local::Local;
use crate::config::store::StoreConfig;
use crate::limits;
use crate::signer::pkcs11;
use crate::telemetry::otlp;
use crate::telemetry::trail;
use crate::tls;
use crate::trust_sources;

/// The complete settings of a server.
#[derive(Debug)]
pub struct Config {
    /// Whether this is a `lanyard dev` set-up, whose keys are unprotected: it listens on loopback only.
    pub dev: bool,
    /// The addresses to listen on.
    pub listeners: Listeners,
    /// The listener behind a TLS terminator, if there is one.
    pub forwarded: Option<Forwarded>,
    /// The socket for proxies on this machine, if there is one.
    pub local: Option<Local>,
    /// The settings of TLS.
    pub tls: tls::Config,
    /// The shares of callers, and how long requests may wait.
    pub limits: limits::Config,
    /// The trust sources that are files.
    pub trust: trust_sources::files::Config,
    /// The Workload API, if it is used.
    pub workload_api: Option<trust_sources::workload_api::Config>,
    /// Where other trust domains publish their bundles.
    pub federation: Vec<trust_sources::bundle_endpoint::Config>,
    /// How the certificates that clients publish, and the keys of trusted issuers, are fetched.
    pub jwks_uri: trust_sources::jwks_uri::Config,
    /// The trusted issuers that publish their keys, each with its `jwks_uri`. The others' are files.
    pub fetched_issuers: Vec<(Arc<TrustedIssuer>, JwksUri)>,
    /// Where the records are kept.
    pub store: StoreConfig,
    /// The algorithm of new signing keys.
    pub algorithm: SigningAlgorithm,
    /// The key-encryption keys, one of which seals the signing keys.
    pub key_encryption_keys: KeyEncryptionKeys,
    /// The PKCS#11 token that holds signing keys, if there is one.
    pub pkcs11: Option<pkcs11::Config>,
    /// The policy of the authority.
    pub policy: Policy,
    /// How long a stopping server continues to serve while it reports that it is not ready. A load balancer, such as
    /// the endpoints of a Kubernetes Service, needs some time to stop sending it new connections.
    pub drain_delay: Duration,
    /// How long connections may take to close when the server stops, after the delay.
    pub drain_timeout: Duration,
    /// The logging settings.
    pub log: crate::telemetry::Config,
    /// Where the audit trail goes besides the log, if anywhere.
    pub audit: Option<trail::Config>,
    /// The collector to which traces and metrics are also exported, if any.
    pub otlp: Option<otlp::Config>,
    /// The source of these settings; `None` if they are not to be read again.
    pub source: Option<Source>,
}

/// A configuration file, and a digest of what it contained when it was read, including the environment.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The digest of its values, including the environment.
    pub written: ConfigDigest,
}

/// The addresses of the three listeners.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// gRPC and OAuth, with a client certificate.
    pub mtls: SocketAddr,
    /// Keys and metadata, for any client.
    pub public: SocketAddr,
    /// Health probes.
    pub ops: SocketAddr,
}

impl Default for Listeners {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { mtls: loopback(8443), public: loopback(8444), ops: loopback(9464) }
    }
}
