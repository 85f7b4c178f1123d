//! The Workload API: whether it answers, and with which SVID and bundle.

use rustls::pki_types::CertificateDer;
use spiffe::WorkloadApiClient;
use spiffe::WorkloadApiError;
use spiffe::X509Bundle;
use spiffe::X509Context;

use crate::authority::trust::Anchors;
use crate::cli::doctor::TIMEOUT;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::trust_sources::workload_api::Config;
use crate::trust_sources::workload_api::Svid;
use crate::trust_sources::workload_api::endpoint_text;

const CHECK: &str = "workload_api";

/// The identity that the Workload API gives this process.
pub(in crate::cli::doctor) struct Identity {
    /// The SVID and its key.
    pub(in crate::cli::doctor) svid: Svid,
    /// The roots of its own trust domain.
    pub(in crate::cli::doctor) own_roots: Option<Anchors>,
}

/// Requests one X.509 context.
pub(in crate::cli::doctor) async fn check(config: &Config, report: &mut Report) -> Option<Identity> {
    let subject = endpoint_text(&config.endpoint).unwrap_or_default();
    let response = tokio::time::timeout(TIMEOUT, async {
        WorkloadApiClient::connect(config.endpoint.clone()).await?.fetch_x509_context().await
    });
    let (fault, problem) = match response.await {
        Ok(Ok(context)) => match identity(&context) {
            Some(identity) => {
                report.ok(CHECK, subject, format!("it answers, and calls this process {}", identity.svid.spiffe_id));
                return Some(identity);
            }
            None => (Fault::WorkloadApiInvalid, "it answers, and gives no X509-SVID".to_owned()),
        },
        Ok(Err(error)) => {
            let denied = matches!(error, WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued);
            let unreachable = matches!(error, WorkloadApiError::Transport(_) | WorkloadApiError::Endpoint(_));
            let fault = if denied {
                Fault::WorkloadApiDenied
            } else if unreachable {
                Fault::WorkloadApiUnreachable
            } else {
                Fault::WorkloadApiInvalid
            };
            (fault, format!("it gives no X509-SVID: {error}"))
        }
        Err(_) => (Fault::WorkloadApiUnreachable, format!("it did not answer within {TIMEOUT:?}")),
    };
    report.fault(CHECK, subject, fault, problem);
    None
}

fn identity(context: &X509Context) -> Option<Identity> {
    let svid = Svid::from(&**context.default_svid()?);
    let own_roots = context.bundle_set().get(svid.spiffe_id.trust_domain()).and_then(|bundle| anchors(&bundle));
    Some(Identity { svid, own_roots })
}

fn anchors(bundle: &X509Bundle) -> Option<Anchors> {
    let roots: Vec<_> = bundle.authorities().iter().map(|root| CertificateDer::from(root.as_bytes())).collect();
    Anchors::new(&roots).ok()
}
