//! Refreshes the bundles of federated trust domains, each from its own endpoint at its own interval.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::trust::TrustBundles;
use crate::server::error::StartError;
use crate::server::stage::Stage;
use crate::server::supervised;
use crate::server::trust::feeds::Feeds;
use crate::server::trust::feeds::Source;
use crate::tls::outbound;
use crate::trust_sources::bundle_endpoint::BundleEndpoint;
use crate::trust_sources::bundle_endpoint::Config;
use crate::trust_sources::bundle_endpoint::EndpointRoots;
use crate::trust_sources::bundle_endpoint::Profile;
use crate::trust_sources::files;

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

/// All endpoints. Until an endpoint has answered, its trust domain is unknown and its workloads are refused.
#[derive(Debug)]
pub(in crate::server) struct Federation {
    endpoints: Vec<Arc<BundleEndpoint>>,
    feeds: Arc<Feeds>,
    turn: Mutex<()>,
}

impl Federation {
    pub(in crate::server) fn open(
        configs: &[Config],
        provider: &Arc<CryptoProvider>,
        clock: &Arc<dyn Clock>,
        feeds: Arc<Feeds>,
    ) -> Result<Self, StartError> {
        let endpoint = |config| endpoint(config, provider, clock).map(Arc::new);
        let endpoints = configs.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, feeds, turn: Mutex::default() })
    }

    /// Fetches from each endpoint at once, and then periodically.
    pub(in crate::server) fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        authority: &Arc<Authority>,
        stages: &watch::Receiver<Stage>,
    ) {
        for endpoint in &self.endpoints {
            let (federation, endpoint, stages) = (Arc::clone(self), Arc::clone(endpoint), stages.clone());
            let fetching = move || Arc::clone(&federation).follow(Arc::clone(&endpoint), stages.clone());
            supervised::spawn(tasks, authority, "federation", fetching);
        }
    }

    async fn follow(self: Arc<Self>, endpoint: Arc<BundleEndpoint>, mut stages: watch::Receiver<Stage>) {
        let rounds = async {
            loop {
                self.refresh(&endpoint).await;
                tokio::time::sleep(endpoint.interval()).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            _ = stages.wait_for(|stage| *stage == Stage::Draining) => {}
        }
    }

    /// Fetches from each endpoint once.
    pub(in crate::server) async fn refresh_all(&self) {
        for endpoint in &self.endpoints {
            self.refresh(endpoint).await;
        }
    }

    async fn refresh(&self, endpoint: &BundleEndpoint) {
        let trust_domain = endpoint.trust_domain();
        if let Some(other) = endpoint.authenticated_by() {
            endpoint.authenticate_with(self.feeds.roots_of(other));
        }
        match endpoint.refresh().await {
            Ok(changed) => {
                if changed {
                    let empty = endpoint.bundle().is_some_and(|bundle| bundle.x509.is_empty());
                    tracing::info!(%trust_domain, empty, "the bundle of a federated trust domain was replaced");
                }
                self.publish();
            }
            Err(error) => {
                tracing::warn!(%trust_domain, %error, "the bundle of a federated trust domain cannot be fetched");
            }
        }
    }

    fn publish(&self) {
        // The lock keeps the order: bundles that are collected first are published first.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let bundles =
            self.endpoints.iter().filter_map(|endpoint| Some((endpoint.trust_domain().clone(), endpoint.bundle()?)));
        let bundles = TrustBundles { trust_domains: bundles.collect(), ..TrustBundles::default() };
        self.feeds.set(Source::BundleEndpoints, bundles);
    }
}
