//! The structure of the configuration file, and its conversion into domain types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use fluent_uri::Uri;
use serde::Deserialize;

use crate::authority::access::RoleGrants;
use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::policy::ExchangePolicy;
use crate::authority::policy::Policy;
use crate::authority::policy::Quotas;
use crate::authority::policy::RegistrationPolicy;
use crate::authority::scope::is_resource_indicator;
use crate::authority::state::LineagePolicy;
use crate::config::audit::Audit;
use crate::config::chaining;
use crate::config::dual_control;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::federation;
use crate::config::federation::Federated;
use crate::config::forwarded;
use crate::config::jwks_uri::JwksUri;
use crate::config::keys::Commands;
use crate::config::keys::Keys;
use crate::config::limits::Limits;
use crate::config::listeners;
use crate::config::local;
use crate::config::reading::count;
use crate::config::reading::duration;
use crate::config::reading::pause;
use crate::config::reading::trust_domain;
use crate::config::roles::Roles;
use crate::config::settings::Config;
use crate::config::settings::Listeners;
use crate::config::store;
use crate::config::telemetry::Telemetry;
use crate::config::trusted_issuers;
use crate::config::txn_tokens;
use crate::config::workload_api::WorkloadApi;
use crate::limits::Machine;
use crate::telemetry;
use crate::tls;
use crate::tls::CertificateFiles;
use crate::tls::ClientAuth;
use crate::trust_sources;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    dev: bool,
    issuer: String,
    mtls_url: Option<String>,
    #[serde(default)]
    registration: RegistrationPolicy,
    #[serde(default)]
    listeners: listeners::Section,
    forwarded: Option<forwarded::Section>,
    local: Option<local::Section>,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    trust: Trust,
    workload_api: Option<WorkloadApi>,
    #[serde(default)]
    federation: Vec<Federated>,
    store: store::Section,
    #[serde(default)]
    keys: Keys,
    #[serde(default)]
    tokens: Tokens,
    #[serde(default)]
    exchange: ExchangePolicy,
    txn_tokens: Option<txn_tokens::Section>,
    #[serde(default)]
    dual_control: dual_control::Section,
    #[serde(default)]
    chaining: chaining::Section,
    #[serde(default)]
    roles: Roles,
    #[serde(default)]
    rotation: Rotation,
    #[serde(default)]
    quotas: QuotaSection,
    audit: Option<Audit>,
    #[serde(default)]
    history: History,
    #[serde(default)]
    jwks_uri: JwksUri,
    #[serde(default)]
    trusted_issuers: Vec<trusted_issuers::Entry>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log: telemetry::Config,
    #[serde(default)]
    telemetry: Telemetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    handshake_timeout: Option<Duration>,
    #[serde(default)]
    client_auth: ClientAuth,
    #[serde(default, deserialize_with = "duration")]
    connection_max_age: Option<Duration>,
    #[serde(default, deserialize_with = "pause")]
    drain_delay: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    drain_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "count")]
    max_connections: Option<NonZero<usize>>,
    #[serde(default, deserialize_with = "count")]
    max_handshakes: Option<NonZero<usize>>,
    #[serde(default, deserialize_with = "count")]
    max_unfinished: Option<NonZero<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the fields are the keys of the file")]
struct Trust {
    trust_domain: Option<String>,
    #[serde(default)]
    bundles: BTreeMap<String, PathBuf>,
    #[serde(default)]
    client_cas: BTreeMap<String, PathBuf>,
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
struct Rotation {
    #[serde(deserialize_with = "duration")]
    overlap: Option<Duration>,
    #[serde(deserialize_with = "count")]
    max_generations: Option<NonZero<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QuotaSection {
    #[serde(deserialize_with = "count")]
    revocations: Option<NonZero<usize>>,
    #[serde(deserialize_with = "count")]
    registrations: Option<NonZero<usize>>,
    #[serde(deserialize_with = "count")]
    rotations: Option<NonZero<usize>>,
}

/// For how long the changes of registrations are kept by default.
const DEFAULT_HISTORY: Duration = Duration::from_hours(90 * 24);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    #[serde(default, deserialize_with = "pause")]
    keep: Option<Duration>,
}

impl From<QuotaSection> for Quotas {
    fn from(written: QuotaSection) -> Self {
        let default = Self::default();
        Self {
            revocations: written.revocations.map_or(default.revocations, NonZero::get),
            registrations: written.registrations.map_or(default.registrations, NonZero::get),
            rotations: written.rotations.map_or(default.rotations, NonZero::get),
        }
    }
}

impl From<Rotation> for LineagePolicy {
    fn from(written: Rotation) -> Self {
        let Self { overlap, max_generations } = Self::default();
        let (overlap, max_generations) =
            (written.overlap.unwrap_or(overlap), written.max_generations.map_or(max_generations, NonZero::get));
        // Each use walks the generations, so their number is limited.
        Self { overlap, max_generations: max_generations.min(16) }
    }
}

impl File {
    /// The signing keys and the key-encryption keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The key-encryption keys. An edge has no private keys, and gets one that opens nothing.
    pub(super) fn key_encryption_keys(
        &self,
        folder: &Path,
        commands: Commands,
    ) -> Result<KeyEncryptionKeys, ConfigError> {
        if self.store.is_of_an_edge() && self.keys.for_private_keys().is_none() {
            let key = KeyEncryptionKey::generate();
            return key.map(Into::into).map_err(|error| value("store.upstream", &error.to_string()));
        }
        self.keys.key_encryption_keys(folder, commands)
    }

    /// Refuses what an edge would not do although its configuration says so.
    fn check_edge(&self) -> Result<(), ConfigError> {
        if !self.store.is_of_an_edge() {
            return Ok(());
        }
        if let Some(key) = self.keys.for_private_keys() {
            return Err(value(key, "is not for an edge, which has no private keys and signs nothing: leave it out"));
        }
        if self.registration != RegistrationPolicy::Off {
            return Err(value("registration", "is not for an edge: clients register at the centre"));
        }
        if self.dual_control.is_set() {
            return Err(value("dual_control", "is not for an edge: changes are made at the centre"));
        }
        if self.history.keep.is_some() {
            return Err(value("history.keep", "is not for an edge: the centre keeps what was changed"));
        }
        Ok(())
    }

    pub(super) fn resolve(
        self,
        folder: &Path,
        key_encryption_keys: Result<KeyEncryptionKeys, ConfigError>,
    ) -> Result<Config, ConfigError> {
        if !self.issuer.starts_with("https://") || !is_resource_indicator(&self.issuer) || self.issuer.contains('?') {
            // RFC 8414 section 2.
            return Err(value("issuer", "must be an https URL without query and fragment"));
        }
        self.check_edge()?;
        let listeners = Listeners::from(&self.listeners);
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
        let workload_api = self.workload_api.map(WorkloadApi::resolve).transpose()?;
        let somebody = !bundles.is_empty() || !self.trust.client_cas.is_empty() || !self.roles.has_no_admins();
        let federation = federation::resolve(self.federation, own.as_ref(), &bundles, folder)?;
        if !somebody && workload_api.is_none() && federation.is_empty() {
            return Err(value(
                "trust",
                "name the bundle of a trust domain, or a client CA: else no client could connect",
            ));
        }
        let client_cas = self.trust.client_cas.iter().map(|(name, path)| (name.clone(), folder.join(path))).collect();
        let (jwks_uri_policy, jwks_uri) = self.jwks_uri.resolve(folder)?;
        let hosts = &jwks_uri_policy.allowed_hosts;
        let mut issuers = trusted_issuers::resolve(self.trusted_issuers, &self.issuer, hosts, folder)?;
        let mtls_url = mtls_url(self.mtls_url, &self.issuer, listeners.mtls)?;
        let token_endpoint = format!("{mtls_url}/oauth2/token");
        let chaining = self.chaining.resolve((&self.issuer, &token_endpoint), hosts, folder, &mut issuers)?;
        let (store, max_staleness) = self.store.resolve(folder, workload_api.is_some())?;
        let local = self.local.map(|section| section.resolve(folder, own.as_ref())).transpose()?;
        let (local, local_proxies) = local.map_or((None, Vec::new()), |(local, proxies)| (Some(local), proxies));
        let otlp = self.telemetry.resolve(folder)?;
        let machine = Machine::detect();
        let max_connections = self.tls.max_connections.map_or(machine.max_connections(), NonZero::get);
        Ok(Config {
            dev: self.dev,
            listeners,
            forwarded: self.forwarded.map(|section| section.resolve(folder, self.dev)).transpose()?,
            local,
            key_encryption_keys: key_encryption_keys?,
            algorithm: self.keys.algorithm,
            pkcs11: self.keys.pkcs11(folder)?,
            store,
            policy: Policy {
                mtls_url,
                issuer: self.issuer,
                registration: self.registration,
                unbound_tokens: self.tokens.unbound,
                max_staleness,
                verdict_ttl: self.tokens.verdict_ttl.unwrap_or(Duration::from_secs(5)),
                roles: RoleGrants { local_proxies, ..self.roles.resolve(own.as_ref())? },
                jwks_uri: jwks_uri_policy,
                lineage: self.rotation.into(),
                quotas: self.quotas.into(),
                keys: self.keys.policy()?,
                history: self.history.keep.unwrap_or(DEFAULT_HISTORY),
                exchange: self.exchange,
                txn_tokens: self.txn_tokens.map(txn_tokens::Section::resolve).transpose()?,
                dual_control: self.dual_control.resolve()?,
                chaining,
            },
            drain_delay: self.tls.drain_delay.unwrap_or_default(),
            drain_timeout: self.tls.drain_timeout.unwrap_or(Duration::from_secs(20)),
            tls: tls::Config {
                certificate: self.tls.files(folder, workload_api.is_some())?,
                client_auth: self.tls.client_auth,
                handshake_timeout: self.tls.handshake_timeout.unwrap_or(Duration::from_secs(5)),
                connection_max_age: self.tls.connection_max_age.unwrap_or(Duration::from_mins(30)),
                max_connections,
                max_handshakes: self.tls.max_handshakes.map_or(256, NonZero::get),
                max_unfinished: self.tls.max_unfinished.map_or(1024, NonZero::get),
                proxies: self.listeners.proxies()?.into(),
            },
            limits: self.limits.resolve(max_connections, machine)?,
            trust: trust_sources::files::Config { own, bundles, client_cas, issuers: issuers.from_files },
            fetched_issuers: issuers.fetched,
            workload_api,
            federation,
            jwks_uri,
            log: self.log,
            audit: self.audit.map(|audit| audit.resolve(folder, otlp.as_ref())).transpose()?,
            otlp,
            source: None,
        })
    }
}

impl Tls {
    fn files(&self, folder: &Path, has_workload_api: bool) -> Result<Option<CertificateFiles>, ConfigError> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Ok(Some(CertificateFiles { certificate: folder.join(certificate), key: folder.join(key) }))
            }
            (None, None) if has_workload_api => Ok(None),
            (None, None) => Err(value("tls.certificate", "is missing, and there is no workload_api to take one from")),
            (Some(_), None) => Err(value("tls.key", "is missing: it goes with tls.certificate")),
            (None, Some(_)) => Err(value("tls.certificate", "is missing: it goes with tls.key")),
        }
    }
}

/// The address of the mTLS listener for clients: as configured, or the issuer's host with the listener's port.
fn mtls_url(configured: Option<String>, issuer: &str, listener: SocketAddr) -> Result<String, ConfigError> {
    const PROBLEM: &str = "must be an https URL without path, query and fragment";
    let beside_the_issuer = || {
        let issuer = Uri::parse(issuer).ok()?;
        let host = issuer.authority()?.host();
        Some(format!("https://{host}:{}", listener.port()))
    };
    let url = configured.or_else(beside_the_issuer).and_then(|url| Uri::parse(url).ok());
    let bare = |url: &Uri<String>| {
        url.scheme().as_str() == "https" && url.has_authority() && !url.has_query() && !url.has_fragment()
    };
    let url = url.filter(|url| bare(url) && matches!(url.path().as_str(), "" | "/"));
    url.map(|url| url.as_str().trim_end_matches('/').to_owned()).ok_or_else(|| value("mtls_url", PROBLEM))
}
