//! The configuration: one YAML file, unknown keys refused with their line, overridden by `LANYARD_SECTION__KEY` from the
//! environment. What comes out are values of the rooms' own types; what is wrong is said by the name of the key.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::Env;
use figment::providers::Serialized;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use spiffe::TrustDomain;
use zeroize::Zeroizing;

use crate::authority::Policy;
use crate::authority::access::Fronted;
use crate::authority::access::RoleGrants;
use crate::authority::access::RoleHolder;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::registration::SpiffeIdPattern;
use crate::authority::scope::is_resource_indicator;
use crate::authority::sealing::KeyEncryptionKey;
use crate::telemetry;
use crate::tls;
use crate::trust;

/// All sections. The environment may override what is in them; other `LANYARD_…` variables mean other things.
const SECTIONS: [&str; 10] = ["dev", "issuer", "keys", "listeners", "log", "roles", "store", "tls", "tokens", "trust"];

/// Everything that a server is started with.
#[derive(Debug)]
pub struct Config {
    /// Whether this is a `lanyard dev` set-up, whose keys are lying about: it listens on loopback only.
    pub dev: bool,
    /// Where it listens.
    pub listeners: Listeners,
    /// The door.
    pub tls: tls::Config,
    /// Who vouches for whom.
    pub trust: trust::files::Config,
    /// The directory of the embedded store; `None` keeps everything in memory, and loses it at the end.
    pub store: Option<PathBuf>,
    /// What new signing keys sign with.
    pub algorithm: SigningAlgorithm,
    /// What seals them.
    pub key_encryption_key: KeyEncryptionKey,
    /// What the authority goes by.
    pub policy: Policy,
    /// How long connections may take to end when the server stops.
    pub drain_timeout: Duration,
    /// The log.
    pub log: telemetry::Config,
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

/// Reads a configuration file. Relative paths in it start at its own folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
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
    let file = match merged.extract::<File>() {
        Ok(file) => file,
        // What the file alone gets wrong is said with its line.
        Err(error) => {
            serde_yaml::from_str::<File>(&text).map_err(yaml)?;
            return Err(ConfigError::Environment(Box::new(error)));
        }
    };
    file.resolve(path.parent().unwrap_or(Path::new("")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    dev: bool,
    issuer: String,
    #[serde(default)]
    listeners: Listeners,
    tls: Tls,
    trust: Trust,
    store: Store,
    keys: Keys,
    #[serde(default)]
    tokens: Tokens,
    #[serde(default)]
    roles: Roles,
    #[serde(default)]
    log: telemetry::Config,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    #[serde(default, deserialize_with = "duration")]
    handshake_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    connection_max_age: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    drain_timeout: Option<Duration>,
    max_connections: Option<NonZero<usize>>,
    max_handshakes: Option<NonZero<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the fields are the keys of the file")]
struct Trust {
    trust_domain: Option<String>,
    #[serde(default)]
    bundles: BTreeMap<String, PathBuf>,
    #[serde(default)]
    client_cas: BTreeMap<String, PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    sled: Option<Sled>,
    #[serde(default)]
    memory: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sled {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    algorithm: SigningAlgorithm,
    key_encryption_key_file: Option<PathBuf>,
    key_encryption_key: Option<SecretString>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tokens {
    unbound: bool,
    #[serde(deserialize_with = "duration")]
    verdict_ttl: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Roles {
    admins: Vec<Holder>,
    proxies: Vec<Proxy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
    resources: Vec<String>,
}

impl File {
    fn resolve(self, folder: &Path) -> Result<Config, ConfigError> {
        if !self.issuer.starts_with("https://") || !is_resource_indicator(&self.issuer) || self.issuer.contains('?') {
            // RFC 8414 section 2.
            return Err(value("issuer", "must be an https URL without query and fragment"));
        }
        let listeners = self.listeners;
        if self.dev
            && [listeners.mtls, listeners.public, listeners.ops].iter().any(|address| !address.ip().is_loopback())
        {
            return Err(value(
                "listeners",
                "a dev set-up listens on loopback addresses only: its keys are lying about",
            ));
        }
        let own =
            self.trust.trust_domain.as_deref().map(|name| trust_domain("trust.trust_domain", name)).transpose()?;
        let bundles =
            self.trust.bundles.iter().map(|(name, path)| Ok((trust_domain("trust.bundles", name)?, folder.join(path))));
        let bundles: BTreeMap<_, _> = bundles.collect::<Result<_, ConfigError>>()?;
        if bundles.is_empty() && self.trust.client_cas.is_empty() && self.roles.admins.is_empty() {
            return Err(value("trust", "name the bundle of a trust domain, or a client CA: else nobody could connect"));
        }
        let client_cas = self.trust.client_cas.iter().map(|(name, path)| (name.clone(), folder.join(path))).collect();
        Ok(Config {
            dev: self.dev,
            listeners,
            key_encryption_key: self.keys.key_encryption_key(folder)?,
            algorithm: self.keys.algorithm,
            store: match self.store {
                Store { sled: Some(Sled { path }), memory: false } => Some(folder.join(path)),
                Store { sled: None, memory: true } => None,
                Store { .. } => return Err(value("store", "name either sled with its path, or memory: true")),
            },
            policy: Policy {
                issuer: self.issuer,
                unbound_tokens: self.tokens.unbound,
                verdict_ttl: self.tokens.verdict_ttl.unwrap_or(Duration::from_secs(5)),
                roles: self.roles.resolve(own.as_ref())?,
            },
            drain_timeout: self.tls.drain_timeout.unwrap_or(Duration::from_secs(20)),
            tls: tls::Config {
                certificate: folder.join(&self.tls.certificate),
                key: folder.join(&self.tls.key),
                handshake_timeout: self.tls.handshake_timeout.unwrap_or(Duration::from_secs(5)),
                connection_max_age: self.tls.connection_max_age.unwrap_or(Duration::from_mins(30)),
                max_connections: self.tls.max_connections.map_or(10_000, NonZero::get),
                max_handshakes: self.tls.max_handshakes.map_or(256, NonZero::get),
            },
            trust: trust::files::Config { bundles, client_cas },
            log: self.log,
        })
    }
}

impl Keys {
    fn key_encryption_key(&self, folder: &Path) -> Result<KeyEncryptionKey, ConfigError> {
        const KEY: &str = "keys.key_encryption_key_file";
        let parse = |text: &str| KeyEncryptionKey::parse(text).map_err(|error| value(KEY, &error.to_string()));
        match (&self.key_encryption_key_file, &self.key_encryption_key) {
            (Some(path), None) => {
                let path = folder.join(path);
                let text = fs::read_to_string(&path).map(Zeroizing::new);
                parse(&text.map_err(|error| ConfigError::Unreadable { path, error })?)
            }
            (None, Some(text)) => parse(text.expose_secret()),
            (Some(_), Some(_)) => Err(value(KEY, "goes only without keys.key_encryption_key")),
            (None, None) => Err(value(
                KEY,
                "is missing, and LANYARD_KEYS__KEY_ENCRYPTION_KEY is not set: make one with `openssl rand -base64 32`",
            )),
        }
    }
}

impl Roles {
    fn resolve(self, own: Option<&TrustDomain>) -> Result<RoleGrants, ConfigError> {
        let admins = self.admins.into_iter().map(|holder| {
            match holder_of("roles.admins", holder.spiffe_id, holder.certificate_thumbprint)? {
                RoleHolder::Spiffe(SpiffeIdPattern::Below(_)) => {
                    Err(value("roles.admins", "an admin is named by its exact SPIFFE ID, not by a pattern"))
                }
                holder @ (RoleHolder::Spiffe(SpiffeIdPattern::Exact(_)) | RoleHolder::Thumbprint(_)) => Ok(holder),
            }
        });
        let proxies = self.proxies.into_iter().map(|proxy| {
            let holder = holder_of("roles.proxies", proxy.spiffe_id, proxy.certificate_thumbprint)?;
            Ok((fronted(&holder, &proxy.resources, own)?, holder)).map(|(fronted, holder)| (holder, fronted))
        });
        Ok(RoleGrants { admins: admins.collect::<Result<_, _>>()?, proxies: proxies.collect::<Result<_, _>>()? })
    }
}

fn holder_of(
    key: &'static str,
    spiffe_id: Option<String>,
    thumbprint: Option<String>,
) -> Result<RoleHolder, ConfigError> {
    match (spiffe_id, thumbprint) {
        (Some(text), None) => SpiffeIdPattern::parse(&text)
            .map(RoleHolder::Spiffe)
            .ok_or_else(|| value(key, &format!("'{}' is not a SPIFFE ID with a path", text.escape_default()))),
        (None, Some(text)) => CertificateThumbprint::parse(&text).map(RoleHolder::Thumbprint).ok_or_else(|| {
            value(key, "certificate_thumbprint must be the 43 characters of an x5t#S256, as `openssl x509 -outform der | openssl dgst -sha256 -binary | basenc --base64url | tr -d =` prints it")
        }),
        (Some(_), Some(_)) | (None, None) => Err(value(key, "each entry has either spiffe_id or certificate_thumbprint")),
    }
}

/// Which resources a proxy fronts. All of them must be written out as `*`, and is not for proxies of other trust domains.
fn fronted(holder: &RoleHolder, resources: &[String], own: Option<&TrustDomain>) -> Result<Fronted, ConfigError> {
    const KEY: &str = "roles.proxies.resources";
    if resources.is_empty() {
        return Err(value(KEY, "name the audiences that the proxy fronts, or \"*\" for all"));
    }
    if resources.iter().any(|resource| resource == "*") {
        let foreign = match holder {
            RoleHolder::Spiffe(SpiffeIdPattern::Exact(id)) => own.is_none_or(|own| !id.is_member_of(own)),
            RoleHolder::Spiffe(SpiffeIdPattern::Below(prefix)) => {
                own.is_none_or(|own| !prefix.starts_with(&format!("{}/", own.id_string())))
            }
            RoleHolder::Thumbprint(_) => false,
        };
        return if foreign {
            Err(value(KEY, "\"*\" is only for proxies of the server's own trust domain, trust.trust_domain"))
        } else {
            Ok(Fronted::Every)
        };
    }
    match resources.iter().find(|resource| !is_resource_indicator(resource)) {
        Some(bad) => Err(value(KEY, &format!("'{}' is not an absolute URI without a fragment", bad.escape_default()))),
        None => Ok(Fronted::Audiences(resources.into())),
    }
}

fn trust_domain(key: &'static str, name: &str) -> Result<TrustDomain, ConfigError> {
    // A name, not a SPIFFE ID, and in the one spelling that it has.
    TrustDomain::new(name).ok().filter(|parsed| parsed.as_str() == name).ok_or_else(|| {
        value(key, &format!("'{}' is not the name of a trust domain, such as prod.example", name.escape_default()))
    })
}

fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned() }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span = humantime::parse_duration(&text).ok().filter(|span| !span.is_zero());
    span.map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("'{}' is not a duration such as 5m", text.escape_default())))
}
