//! What the Workload API provides to this server: bundles for its peers, and an SVID for its listeners.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use spiffe::TrustDomain;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Entropy;
use crate::server::supervised;
use crate::server::trust::feeds::Feeds;
use crate::server::trust::feeds::Source;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources::workload_api;
use crate::trust_sources::workload_api::Receivers;
use crate::trust_sources::workload_api::Svid;
use crate::trust_sources::workload_api::Unanswered;
use crate::trust_sources::workload_api::WorkloadApi;

/// The server's identity, as the Workload API issues and withdraws it.
#[derive(Debug)]
pub(in crate::server) struct WorkloadIdentity {
    authority: Arc<Authority>,
    /// `None` where the certificate comes from files.
    certificate: Option<Arc<ServerCertificate>>,
    /// The server's own trust domain, once the Workload API has named it.
    trust_domain: Mutex<Option<TrustDomain>>,
}

/// Follows the Workload API for as long as the server runs. Completes when its first answers have arrived.
pub(in crate::server) async fn follow(
    tasks: &mut JoinSet<()>,
    authority: &Arc<Authority>,
    workload_api: &Arc<WorkloadApi>,
) -> Result<(), Unanswered> {
    let followed = Arc::clone(workload_api);
    supervised::spawn(tasks, authority, "Workload API", move || Arc::clone(&followed).run());
    workload_api.answered().await
}

impl WorkloadIdentity {
    /// Creates the client of the Workload API, and the identity that it updates. Running the client follows the API.
    pub(in crate::server) fn new(
        config: workload_api::Config,
        authority: &Arc<Authority>,
        entropy: Arc<dyn Entropy>,
        feeds: Arc<Feeds>,
        certificate: Option<Arc<ServerCertificate>>,
    ) -> (Arc<WorkloadApi>, Arc<Self>) {
        let identity = Arc::new(Self { authority: Arc::clone(authority), certificate, trust_domain: Mutex::default() });
        let receiver = Arc::clone(&identity);
        let receivers = Receivers {
            bundles: Box::new(move |bundles| feeds.set(Source::WorkloadApi, bundles)),
            svid: Box::new(move |svid| receiver.apply(svid)),
        };
        (Arc::new(WorkloadApi::new(config, Arc::clone(authority.clock()), entropy, receivers)), identity)
    }

    /// Applies an SVID. New handshakes present it, or no certificate where it was withdrawn; open connections continue.
    fn apply(&self, svid: Option<Svid>) {
        // Held to the end, so that updates are applied in order.
        let mut trust_domain = self.trust_domain.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(svid) = svid else {
            if let Some(certificate) = &self.certificate {
                certificate.withdraw();
                tracing::error!(
                    "the Workload API has no identity for this server any more: it presents no certificate"
                );
            }
            return;
        };
        *trust_domain = Some(svid.spiffe_id.trust_domain().clone());
        let Some(certificate) = &self.certificate else { return };
        match certificate.replace(svid.chain, svid.key.into()) {
            Ok(true) => tracing::info!(spiffe_id = %svid.spiffe_id, "the server certificate was replaced"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the SVID of the Workload API is broken; the old one is kept"),
        }
    }

    /// Whether peers of the server's own trust domain can be proven; if not, the code for the probes. Federated bundles
    /// do not matter: the service within one mesh should not depend on another organization's endpoint.
    pub(in crate::server) fn readiness(&self) -> Result<(), &'static str> {
        let trust_domain = self.trust_domain.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.authority.clock().now();
        let trust = self.authority.trust();
        let bundle = trust_domain.as_ref().and_then(|own| trust.trust_domains.get(own));
        if bundle.is_none_or(|bundle| bundle.is_stale(now)) {
            return Err("bundle_stale");
        }
        Ok(())
    }
}
