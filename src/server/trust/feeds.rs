//! Combines the bundles and client CAs of all sources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use spiffe::TrustDomain;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::trust::Anchors;
use crate::authority::trust::TrustBundles;

/// A source of bundles and client CAs. The order is that of precedence.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::server) enum Source {
    /// Files named in the configuration.
    Files,
    /// What trusted issuers publish at their `jwks_uri`.
    TrustedIssuers,
    /// Bundle endpoints of other trust domains.
    BundleEndpoints,
    /// The Workload API.
    WorkloadApi,
}

/// Keeps the last bundles of each source, and updates the authority when they change.
#[derive(Debug)]
pub(in crate::server) struct Feeds {
    authority: Arc<Authority>,
    latest: Mutex<BTreeMap<Source, TrustBundles>>,
    updates: watch::Sender<u64>,
}

impl Feeds {
    pub(in crate::server) fn new(authority: Arc<Authority>) -> Self {
        Self { authority, latest: Mutex::default(), updates: watch::Sender::default() }
    }

    /// Replaces the bundles and client CAs of a source.
    ///
    /// A trust domain has one source, the first that names it. Bundles are never merged (SPIFFE Federation section
    /// 4.2), not even two of the same trust domain: one may have withdrawn what the other still contains.
    pub(in crate::server) fn set(&self, source: Source, bundles: TrustBundles) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = latest.insert(source, bundles);
        if let Some(bundles) = latest.get(&source) {
            log_refused(bundles, previous.as_ref());
        }
        let mut combined = TrustBundles::default();
        for (source, bundles) in latest.iter() {
            for (trust_domain, bundle) in &bundles.trust_domains {
                if combined.trust_domains.contains_key(trust_domain) {
                    tracing::warn!(%trust_domain, ?source, "a bundle is ignored: another source has the trust domain");
                } else {
                    combined.trust_domains.insert(trust_domain.clone(), bundle.clone());
                }
            }
            combined
                .client_cas
                .extend(bundles.client_cas.iter().map(|(name, anchors)| (name.clone(), anchors.clone())));
            // The configuration gives each issuer one source.
            combined.issuers.extend(bundles.issuers.iter().map(|(issuer, keys)| (issuer.clone(), keys.clone())));
        }
        self.authority.replace_trust(combined);
        self.updates.send_modify(|count| *count += 1);
    }

    /// The current roots of a trust domain; none if it has no bundle, or a stale one.
    pub(in crate::server) fn roots_of(&self, trust_domain: &TrustDomain) -> Anchors {
        let (trust, now) = (self.authority.trust(), self.authority.clock().now());
        let bundle = trust.trust_domains.get(trust_domain).filter(|bundle| !bundle.is_stale(now));
        bundle.map(|bundle| bundle.x509.clone()).unwrap_or_default()
    }

    /// The number of updates applied, over all sources.
    pub(in crate::server) fn updates(&self) -> watch::Receiver<u64> {
        self.updates.subscribe()
    }
}

/// Logs the CA certificates that cannot be used as anchors, unless they were logged with the previous bundles.
fn log_refused(bundles: &TrustBundles, previous: Option<&TrustBundles>) {
    let known: Vec<_> = previous.into_iter().flat_map(TrustBundles::refused).collect();
    for (place, refused) in bundles.refused() {
        let is_known = known.iter().any(|(known_place, known)| {
            *known_place == place && known.thumbprint == refused.thumbprint && known.why == refused.why
        });
        if !is_known {
            tracing::error!(bundle = %place, certificate = %refused.thumbprint, why = %refused.why, "a CA certificate is not used");
        }
    }
}
