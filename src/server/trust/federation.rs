//! Refreshes the bundles of federated trust domains, each from its own endpoint at its own interval.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::state::FetchedBundle;
use crate::authority::state::StoredBundle;
use crate::authority::trust::TrustBundles;
use crate::server::error::StartError;
use crate::server::stage::Stage;
use crate::server::stage::until_draining;
use crate::server::supervised;
use crate::server::trust::feeds::Feeds;
use crate::server::trust::feeds::Source;
use crate::server::trust::stored;
use crate::server::trust::stored::LastSeen;
use crate::tls::outbound;
use crate::trust_sources::bundle_endpoint::BundleEndpoint;
use crate::trust_sources::bundle_endpoint::Config;
use crate::trust_sources::bundle_endpoint::EndpointRoots;
use crate::trust_sources::bundle_endpoint::Profile;
use crate::trust_sources::bundle_endpoint::Refreshed;
use crate::trust_sources::files;

/// How often it is looked for bundles that other replicas fetched.
const ADOPTION_INTERVAL: Duration = Duration::from_secs(1);

/// A bundle endpoint. Nothing is fetched yet.
pub(crate) fn endpoint(
    config: &Config,
    provider: &Arc<CryptoProvider>,
    clock: &Arc<dyn Clock>,
) -> Result<BundleEndpoint, StartError> {
    let roots = Arc::new(ArcSwap::<_>::default());
    let (provider, time) = (Arc::clone(provider), Arc::clone(clock));
    let tls = match &config.profile {
        Profile::HttpsWeb { ca } => outbound::config(ca.as_deref(), provider, time)?,
        Profile::HttpsSpiffe { endpoint_spiffe_id, roots: source } => {
            match source {
                EndpointRoots::Fetched(file) | EndpointRoots::File(file) => roots.store(Arc::new(files::roots(file)?)),
                EndpointRoots::BundleOf(_) => {}
            }
            outbound::svid_config(endpoint_spiffe_id.clone(), Arc::clone(&roots), provider, time)?
        }
    };
    Ok(BundleEndpoint::new(config, Arc::new(tls), Arc::clone(clock), roots))
}

/// The digest of what the configuration says of an endpoint: its URL and profile, the hosts to which it may redirect, and the
/// file that authenticates it.
fn source(config: &Config) -> String {
    let contents = |path: Option<&Path>| path.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let (profile, by, file) = match &config.profile {
        Profile::HttpsWeb { ca } => ("https_web", String::new(), contents(ca.as_deref())),
        Profile::HttpsSpiffe { endpoint_spiffe_id, roots } => {
            let (trust_domain, file) = match roots {
                EndpointRoots::Fetched(file) | EndpointRoots::File(file) => ("", contents(Some(file))),
                EndpointRoots::BundleOf(trust_domain) => (trust_domain.as_str(), Vec::new()),
            };
            ("https_spiffe", format!("{endpoint_spiffe_id} {trust_domain}"), file)
        }
    };
    let redirect_hosts: Vec<_> = config.redirect_hosts.hosts().map(|(host, port)| format!("{host}:{port}")).collect();
    let redirect_hosts = redirect_hosts.join(" ");
    stored::source(&[config.trust_domain.as_str(), config.url.as_str(), profile, &by, &redirect_hosts], &file)
}

/// An endpoint, and what was taken from the store of it.
#[derive(Debug)]
struct Federated {
    endpoint: BundleEndpoint,
    source: String,
    seen: LastSeen,
    /// Fetches without waiting for the interval.
    fetch_now: Notify,
}

impl Federated {
    /// Takes what the store has, where that is new. Returns whether the bundle may have changed.
    fn adopt(&self, authority: &Authority) -> bool {
        match self.seen.look(authority, self.endpoint.trust_domain().as_str()) {
            None => false,
            Some(StoredBundle::Absent) => {
                // It has ended, or the document that replaced it is too large for a record.
                self.fetch_now.notify_one();
                false
            }
            Some(StoredBundle::Fetched(fetched, _)) => {
                fetched.source == self.source && self.endpoint.adopt(&fetched.document, fetched.fetched_at)
            }
            Some(StoredBundle::Unreadable(_)) => {
                // What it says may be that a root is withdrawn.
                self.endpoint.expire();
                self.fetch_now.notify_one();
                true
            }
        }
    }

    /// Whether another replica fetches the document: the stored one is of late, and what is known here is in effect. The
    /// leader stores it at least that often.
    fn is_fetched_elsewhere(&self, authority: &Authority) -> bool {
        let StoredBundle::Fetched(fetched, _) = authority.stored_bundle(self.endpoint.trust_domain().as_str()) else {
            return false;
        };
        let now = authority.clock().now();
        let is_of_late = |requested_at: Timestamp| now < requested_at.after(self.endpoint.max_age() / 2);
        // The clock of the one that wrote the record may have been ahead.
        let is_taken = self.endpoint.in_effect_since().is_some_and(is_of_late);
        is_taken && is_of_late(fetched.fetched_at) && fetched.source == self.source && !authority.leads()
    }
}

/// All endpoints. Until an endpoint has answered, or the store has its document, its trust domain is unknown and its
/// workloads are refused.
#[derive(Debug)]
pub(in crate::server) struct Federation {
    endpoints: Vec<Arc<Federated>>,
    authority: Arc<Authority>,
    feeds: Arc<Feeds>,
    turn: Mutex<()>,
}

impl Federation {
    pub(in crate::server) fn open(
        configs: &[Config],
        provider: &Arc<CryptoProvider>,
        authority: &Arc<Authority>,
        feeds: Arc<Feeds>,
    ) -> Result<Self, StartError> {
        let federated = |config| {
            let endpoint = endpoint(config, provider, authority.clock())?;
            let (source, seen, fetch_now) = (source(config), LastSeen::default(), Notify::new());
            Ok(Arc::new(Federated { endpoint, source, seen, fetch_now }))
        };
        let endpoints = configs.iter().map(federated).collect::<Result<_, StartError>>()?;
        Ok(Self { endpoints, authority: Arc::clone(authority), feeds, turn: Mutex::default() })
    }

    /// Fetches from each endpoint at once, and then periodically. Of several replicas the leader does it for all; another
    /// one does it where the store has no document of late.
    pub(in crate::server) fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        authority: &Arc<Authority>,
        stages: &watch::Receiver<Stage>,
    ) {
        // An edge takes what the centre has fetched.
        for federated in self.endpoints.iter().filter(|_| !authority.is_edge()) {
            let (federation, federated, stages) = (Arc::clone(self), Arc::clone(federated), stages.clone());
            let fetching = move || {
                let (federation, federated) = (Arc::clone(&federation), Arc::clone(&federated));
                until_draining(async move { federation.follow(&federated).await }, stages.clone())
            };
            supervised::spawn(tasks, authority, "federation", fetching);
        }
        if !self.endpoints.is_empty() {
            let (federation, stages) = (Arc::clone(self), stages.clone());
            let adopting = move || {
                let federation = Arc::clone(&federation);
                until_draining(async move { federation.follow_store().await }, stages.clone())
            };
            supervised::spawn(tasks, authority, "federation", adopting);
        }
    }

    async fn follow(&self, federated: &Federated) {
        loop {
            if !federated.is_fetched_elsewhere(&self.authority) {
                self.refresh(federated).await;
            }
            tokio::select! {
                () = tokio::time::sleep(federated.endpoint.interval()) => {}
                () = federated.fetch_now.notified() => {}
            }
        }
    }

    async fn follow_store(&self) {
        loop {
            self.adopt_stored();
            tokio::time::sleep(ADOPTION_INTERVAL).await;
        }
    }

    /// Takes what the store has of each endpoint.
    pub(in crate::server) fn adopt_stored(&self) {
        let mut changed = false;
        for federated in &self.endpoints {
            changed |= federated.endpoint.follow_clock();
            changed |= federated.adopt(&self.authority);
        }
        if changed {
            self.publish();
        }
    }

    /// Fetches from each endpoint once.
    pub(in crate::server) async fn refresh_all(&self) {
        for federated in &self.endpoints {
            self.refresh(federated).await;
        }
    }

    async fn refresh(&self, federated: &Federated) {
        let endpoint = &federated.endpoint;
        let trust_domain = endpoint.trust_domain();
        if self.authority.is_bundle_suspended(trust_domain.as_str()) {
            return;
        }
        if let Some(other) = endpoint.authenticated_by() {
            endpoint.authenticate_with(self.feeds.roots_of(other));
        }
        match endpoint.refresh().await {
            Ok(refreshed) => {
                if refreshed.changed {
                    let empty = endpoint.bundle().is_some_and(|bundle| bundle.x509.is_empty());
                    tracing::info!(%trust_domain, empty, "the bundle of a federated trust domain was replaced");
                }
                self.publish();
                if refreshed.taken {
                    self.store(federated, refreshed).await;
                }
            }
            Err(error) => {
                tracing::warn!(%trust_domain, %error, "the bundle of a federated trust domain cannot be fetched");
            }
        }
    }

    /// Stores a document for the other replicas, and for a restart. It counts here also where the store takes no writes.
    async fn store(&self, federated: &Federated, refreshed: Refreshed) {
        let endpoint = &federated.endpoint;
        let Refreshed { changed: _, taken: _, document, text, requested_at } = refreshed;
        let (trust_domain, keep) = (endpoint.trust_domain(), endpoint.max_age());
        let fetched = FetchedBundle {
            bundle_endpoint: endpoint.url().to_owned(),
            source: federated.source.clone(),
            document,
            fetched_at: requested_at,
            keep_until: requested_at.after(keep),
            stored: Box::default(),
        };
        if let Err(error) = self.authority.store_fetched_bundle(trust_domain.as_str(), fetched, &text, keep).await {
            tracing::warn!(%trust_domain, %error, "the bundle of a federated trust domain could not be stored");
        }
    }

    fn publish(&self) {
        // The lock keeps the order: bundles that are collected first are published first.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for federated in &self.endpoints {
            // A fetch that was under way when the record of a newer schema came ends after it.
            if self.authority.is_bundle_suspended(federated.endpoint.trust_domain().as_str()) {
                federated.endpoint.expire();
            }
        }
        let endpoints = self.endpoints.iter().map(|federated| &federated.endpoint);
        let bundles = endpoints.filter_map(|endpoint| Some((endpoint.trust_domain().clone(), endpoint.bundle()?)));
        let bundles = TrustBundles { trust_domains: bundles.collect(), ..TrustBundles::default() };
        self.feeds.set(Source::BundleEndpoints, bundles);
    }
}
