//! What the Workload API gives for the connections to the store: the SVID to present, and the bundles that prove the
//! servers' own.
//!
//! The store is open before there is an authority, and outside of servers too: it has a stream of its own.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use spiffe::TrustDomain;
use tokio::task::AbortHandle;

use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::trust::Anchors;
use crate::authority::trust::TrustBundles;
use crate::server::supervised;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources::workload_api;
use crate::trust_sources::workload_api::Receivers;
use crate::trust_sources::workload_api::Svid;
use crate::trust_sources::workload_api::Unanswered;
use crate::trust_sources::workload_api::WorkloadApi;

/// The newest SVID and bundles. The Workload API is followed until this is dropped.
#[derive(Debug)]
pub(super) struct StoreIdentity {
    certificate: Arc<ServerCertificate>,
    bundles: Arc<ArcSwap<TrustBundles>>,
    clock: Arc<dyn Clock>,
    following: AbortHandle,
}

impl StoreIdentity {
    /// Follows a Workload API. Completes when its first answers have arrived.
    ///
    /// # Errors
    /// None arrived in time.
    pub(super) async fn follow(
        config: workload_api::Config,
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Unanswered> {
        let (certificate, bundles) =
            (Arc::new(ServerCertificate::empty(provider)), Arc::<ArcSwap<TrustBundles>>::default());
        let (presented, proving) = (Arc::clone(&certificate), Arc::clone(&bundles));
        let receivers = Receivers {
            bundles: Box::new(move |bundles| proving.store(Arc::new(bundles))),
            svid: Box::new(move |svid| apply(&presented, svid)),
        };
        let workload_api = Arc::new(WorkloadApi::new(config, Arc::clone(&clock), entropy, receivers));
        let followed = Arc::clone(&workload_api);
        let run = supervised::run("Workload API for the store", move || Arc::clone(&followed).run(), || {});
        let following = tokio::spawn(run).abort_handle();
        let identity = Self { certificate, bundles, clock, following };
        workload_api.answered().await?;
        Ok(identity)
    }

    /// The SVID for a new connection; why there is none to present. One that has expired is not presented.
    pub(super) fn svid(&self) -> Result<Arc<CertifiedKey>, String> {
        let svid = self.certificate.present().ok_or("the Workload API has no X509-SVID for this server to present")?;
        let now = self.clock.now();
        match self.certificate.not_after() {
            Some(end) if now > end => {
                let ago = end.until(now);
                Err(format!("this server's X509-SVID expired {ago:?} ago, and the Workload API has given no newer one"))
            }
            Some(_) | None => Ok(svid),
        }
    }

    /// The roots that prove a server's SVID; why there are none.
    pub(super) fn roots_of(&self, trust_domain: &TrustDomain) -> Result<Anchors, String> {
        let bundles = self.bundles.load();
        let bundle = bundles.trust_domains.get(trust_domain);
        let bundle = bundle.ok_or_else(|| format!("the Workload API has no bundle of {trust_domain}"))?;
        if bundle.is_stale(self.clock.now()) {
            return Err(format!(
                "the Workload API has been silent for too long: its bundle of {trust_domain} is stale"
            ));
        }
        Ok(bundle.x509.clone())
    }
}

impl Drop for StoreIdentity {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn apply(certificate: &ServerCertificate, svid: Option<Svid>) {
    let Some(svid) = svid else {
        certificate.withdraw();
        tracing::error!("the Workload API has no identity for this server any more: the store gets no new connection");
        return;
    };
    match certificate.replace(svid.chain, svid.key.into()) {
        Ok(true) => tracing::info!(spiffe_id = %svid.spiffe_id, "the client certificate for the store was replaced"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the SVID of the Workload API is broken; the old one is kept"),
    }
}
