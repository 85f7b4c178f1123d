//! The components that exist before anything is served: the open store, and the core with its registrations and
//! bundles.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;

use crate::authority::Authority;
use crate::authority::backup::UnfinishedImport;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::decision::KeyChangeError;
use crate::authority::observe::AuditSink;
use crate::authority::state::LoadError;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::trust::TrustBundles;
use crate::config::Config;
use crate::config::StoreConfig;
use crate::server::audit::Audit;
use crate::server::error::StartError;
use crate::server::host_name::host_name;
use crate::server::keys_error::KeysError;
use crate::server::start::edge::first_listing;
use crate::server::start::signing_keys;
use crate::server::start::store::Stored;
use crate::server::trust::Federation;
use crate::server::trust::Feeds;
use crate::server::trust::Source;
use crate::server::trust::TrustedIssuers;
use crate::server::trust::jwks_client;
use crate::signer::pkcs11::Pkcs11;
use crate::telemetry::ExportFailures;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources::files;
use crate::trust_sources::files::Contents;
use crate::trust_sources::https::GuardedClient;

/// The components.
pub(in crate::server) struct Components {
    pub(in crate::server) provider: Arc<CryptoProvider>,
    /// The certificate that the server presents. Where no files are configured, the Workload API provides it.
    pub(in crate::server) certificate: Arc<ServerCertificate>,
    pub(in crate::server) stored: Stored,
    pub(in crate::server) authority: Arc<Authority>,
    /// The audit trail of the core.
    pub(in crate::server) audit: Audit,
    pub(in crate::server) feeds: Arc<Feeds>,
    /// The contents of the files of bundles and client CAs.
    pub(in crate::server) contents: Contents,
    pub(in crate::server) federation: Federation,
    pub(in crate::server) trusted_issuers: TrustedIssuers,
    /// The client that fetches published JWK Sets; `None` where no client may publish one.
    pub(in crate::server) published: Option<Arc<GuardedClient>>,
    /// The token that holds signing keys, if one is configured.
    pub(in crate::server) token: Option<Pkcs11>,
    /// The revision at which the registrations were read.
    pub(in crate::server) loaded: Revision,
}

impl Components {
    /// Builds the components, or returns the first error.
    pub(in crate::server) async fn build(
        config: &Config,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        store: Option<Arc<dyn Store>>,
        (audit, export_failures): (Arc<dyn AuditSink>, &Arc<ExportFailures>),
    ) -> Result<Self, StartError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let certificate = match config.tls.certificate.clone() {
            Some(files) => ServerCertificate::open(files, Arc::clone(&provider))?,
            None => ServerCertificate::empty(Arc::clone(&provider)),
        };
        let (bundles, contents) = files::load(&config.trust)?;
        let stored = match store {
            Some(store) => Stored::measure(store, None),
            None => Stored::open(config, &provider, Arc::clone(&clock), Arc::clone(&entropy)).await?,
        };
        let store = Arc::clone(&stored.store);
        let allowed_hosts = &config.policy.jwks_uri.allowed_hosts;
        let published = jwks_client(&config.jwks_uri, allowed_hosts, &provider, &clock)?;
        let token = signing_keys::open_token(config, Arc::clone(&clock))?;
        let may_be_away = config.pkcs11.as_ref().is_some_and(|token| token.start_without_token);
        let is_edge = config.store.is_of_an_edge();
        let (sealer, keys) = if is_edge {
            signing_keys::of_an_edge(config.algorithm)
        } else {
            if let Some(unfinished) = UnfinishedImport::find(&*store).await.map_err(LoadError::Store)? {
                return Err(unfinished.into());
            }
            let sealer = signing_keys::sealer_with_token(config, config.key_encryption_keys.clone(), token.as_ref());
            let keys = signing_keys::open(&*store, &sealer, config.algorithm).await?;
            signing_keys::prove(&keys, may_be_away).await?;
            (sealer, keys)
        };
        let name = match &config.store {
            StoreConfig::Etcd(_) | StoreConfig::Upstream(_) => Some(replica_name(&*entropy)?),
            StoreConfig::Memory | StoreConfig::Sled(_) => None,
        };
        let (policy, trust) = (config.policy.clone(), TrustBundles::default());
        let audit = Audit::open(config.audit.clone(), audit, &clock, &*entropy, export_failures)?;
        let authority = Authority::new(policy, clock, entropy, store, keys, sealer, trust);
        let authority = authority.with_audit(audit.sink());
        let authority = match name {
            Some(name) if is_edge => authority.as_edge(&name),
            Some(name) => authority.as_replica(name),
            None => authority,
        };
        let authority = Arc::new(authority);
        let feeds = Arc::new(Feeds::new(Arc::clone(&authority)));
        feeds.set(Source::Files, bundles);
        let federation = Federation::open(&config.federation, &provider, &authority, Arc::clone(&feeds))?;
        let issuers = config.fetched_issuers.clone();
        let trusted_issuers = TrustedIssuers::open(issuers, published.clone(), &authority, Arc::clone(&feeds));
        let loaded = if is_edge { first_listing(&authority).await? } else { load(&authority, may_be_away).await? };
        federation.adopt_stored();
        trusted_issuers.adopt_stored();
        Ok(Self {
            provider,
            certificate: Arc::new(certificate),
            stored,
            authority,
            audit,
            feeds,
            contents,
            federation,
            trusted_issuers,
            published,
            token,
            loaded,
        })
    }
}

/// Reads the store, and makes in it what a server has that issues.
async fn load(authority: &Authority, token_may_be_away: bool) -> Result<Revision, StartError> {
    authority.enable_features_of_a_new_store().await.map_err(LoadError::Store)?;
    let mut loaded = authority.load().await?;
    if authority.keys().active().is_none() {
        match authority.tend_signing_keys().await {
            // It is tried again while the server serves.
            Err(error @ KeyChangeError::NotMade) if token_may_be_away => {
                tracing::error!(%error, "the server starts without a key that signs: no tokens are issued");
            }
            tended => tended.map_err(KeysError::NotMade)?,
        }
        // Another replica may have made the first key.
        loaded = authority.load().await?;
    }
    authority.open_receipt_keys().await.map_err(KeysError::Receipts)?;
    Ok(loaded)
}

/// A name that no other replica has, also after a restart: the host's name, for the reader, and random digits.
fn replica_name(entropy: &dyn Entropy) -> Result<String, StartError> {
    let mut chance = [0; 8];
    entropy.fill(&mut chance).map_err(|error| StartError::Setup(error.into()))?;
    Ok(format!("{}-{}", host_name(), hex::encode(chance)))
}
