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
use crate::server::StartError;
use crate::server::federation::Federation;
use crate::server::polling;
use crate::server::signing_keys;
use crate::server::stored::Stored;
use crate::server::trust_feeds::Feeds;
use crate::server::trust_feeds::Source;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust::files;
use crate::trust::files::Contents;
use crate::trust::https::GuardedClient;

/// All of it.
pub(super) struct Foundation {
    pub(super) provider: Arc<CryptoProvider>,
    /// What the door presents. Where no files are named, the Workload API brings it.
    pub(super) certificate: Arc<ServerCertificate>,
    pub(super) stored: Stored,
    pub(super) authority: Arc<Authority>,
    pub(super) feeds: Arc<Feeds>,
    /// What the files of bundles and client CAs held.
    pub(super) contents: Contents,
    pub(super) federation: Federation,
    /// What fetches the certificates that clients publish, where they may.
    pub(super) published: Option<Arc<GuardedClient>>,
    /// Up to where the registrations were read.
    pub(super) loaded: Revision,
}

impl Foundation {
    /// Lays it, or says what is missing.
    pub(super) async fn lay(
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
        let published = polling::client(&config.jwks_uri, allowed_hosts, &provider, &clock)?;
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
