//! What stands before anything is served: the store is open, the core knows what is in it, and who vouches for whom.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::trust::TrustBundles;
use crate::config::Config;
use crate::server::error::StartError;
use crate::server::start::signing_keys;
use crate::server::start::store::Stored;
use crate::server::trust::Federation;
use crate::server::trust::Feeds;
use crate::server::trust::Source;
use crate::server::trust::jwks_client;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources::files;
use crate::trust_sources::files::Contents;
use crate::trust_sources::https::GuardedClient;

/// All of it.
pub(in crate::server) struct Components {
    pub(in crate::server) provider: Arc<CryptoProvider>,
    /// What the door presents. Where no files are named, the Workload API brings it.
    pub(in crate::server) certificate: Arc<ServerCertificate>,
    pub(in crate::server) stored: Stored,
    pub(in crate::server) authority: Arc<Authority>,
    pub(in crate::server) feeds: Arc<Feeds>,
    /// What the files of bundles and client CAs held.
    pub(in crate::server) contents: Contents,
    pub(in crate::server) federation: Federation,
    /// What fetches the certificates that clients publish, where they may.
    pub(in crate::server) published: Option<Arc<GuardedClient>>,
    /// Up to where the registrations were read.
    pub(in crate::server) loaded: Revision,
}

impl Components {
    /// Lays it, or says what is missing.
    pub(in crate::server) async fn build(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Self, StartError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let certificate = match config.tls.certificate.clone() {
            Some(files) => ServerCertificate::open(files, Arc::clone(&provider))?,
            None => ServerCertificate::awaited(Arc::clone(&provider)),
        };
        let (bundles, contents) = files::load(&config.trust)?;
        let stored = match store {
            Some(store) => Stored::measure(store, None),
            None => Stored::open(config.store.as_deref(), Arc::clone(&clock))?,
        };
        let store = Arc::clone(&stored.store);
        let allowed_hosts = &config.policy.jwks_uri.allowed_hosts;
        let published = jwks_client(&config.jwks_uri, allowed_hosts, &provider, &clock)?;
        let keys = signing_keys::open(&*store, &config.key_encryption_key, config.algorithm, clock.now()).await?;
        let (policy, trust) = (config.policy.clone(), TrustBundles::default());
        let authority = Arc::new(Authority::new(policy, clock, entropy, store, keys, trust));
        let feeds = Arc::new(Feeds::new(Arc::clone(&authority)));
        feeds.set(Source::Files, bundles);
        let federation = Federation::open(&config.federation, &provider, authority.clock(), Arc::clone(&feeds))?;
        let loaded = authority.load().await?;
        Ok(Self {
            provider,
            certificate: Arc::new(certificate),
            stored,
            authority,
            feeds,
            contents,
            federation,
            published,
            loaded,
        })
    }
}
