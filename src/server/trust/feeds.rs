//! What vouches for peers, put together from all the sources that say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::trust::TrustBundles;

/// A source of trust. The order is that of precedence.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::server) enum Source {
    /// Files that the configuration names.
    Files,
    /// Where other trust domains publish their bundles.
    BundleEndpoints,
    /// The Workload API.
    WorkloadApi,
}

/// Holds what each source last said, and tells the authority whenever that changes.
#[derive(Debug)]
pub(in crate::server) struct Feeds {
    authority: Arc<Authority>,
    said: Mutex<BTreeMap<Source, TrustBundles>>,
    heard: watch::Sender<u64>,
}

impl Feeds {
    pub(in crate::server) fn new(authority: Arc<Authority>) -> Self {
        Self { authority, said: Mutex::default(), heard: watch::Sender::default() }
    }

    /// Takes in all that a source says now; what it said before counts no longer.
    ///
    /// A trust domain has one source, the first that names it: bundles are never merged (SPIFFE Federation section 4.2), not
    /// even two of the same trust domain, of which one might have withdrawn what the other still holds.
    pub(in crate::server) fn set(&self, source: Source, bundles: TrustBundles) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(source, bundles);
        let mut together = TrustBundles::default();
        for (source, bundles) in said.iter() {
            for (trust_domain, bundle) in &bundles.trust_domains {
                if together.trust_domains.contains_key(trust_domain) {
                    tracing::warn!(%trust_domain, ?source, "a bundle is passed over: another source has the trust domain");
                } else {
                    together.trust_domains.insert(trust_domain.clone(), bundle.clone());
                }
            }
            together
                .client_cas
                .extend(bundles.client_cas.iter().map(|(name, anchors)| (name.clone(), anchors.clone())));
        }
        self.authority.replace_trust(together);
        self.heard.send_modify(|times| *times += 1);
    }

    /// Counts how often a source has spoken and was taken in.
    pub(in crate::server) fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }
}
