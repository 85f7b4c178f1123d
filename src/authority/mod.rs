//! The core: what is decided, without sockets, runtime, proto or database.
//!
//! [`Authority`] is what every voice asks. It answers from snapshots in memory; only changes of registrations wait for the
//! store.
// Rooms are open, each by its face; what is not `pub` is nobody's outside the core.
pub mod access;
mod api;
mod caches;
pub mod clock;
pub mod decision;
pub mod deny_reason;
pub mod evidence;
pub mod identity;
pub mod json;
pub mod keys;
pub mod observe;
pub mod policy;
pub mod records;
pub mod registration;
pub mod resources;
pub mod scope;
pub mod state;
pub mod store;
pub mod tokens;
pub mod trust;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;

use crate::authority::access::RoleGrants;
use crate::authority::caches::VerifiedTokens;
use crate::authority::caches::VouchedCertificates;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::keys::KeySealer;
use crate::authority::keys::SigningKeys;
use crate::authority::observe::AuditSink;
use crate::authority::observe::LogSink;
use crate::authority::observe::Metrics;
use crate::authority::observe::Reloads;
use crate::authority::policy::Policy;
use crate::authority::state::JwksSource;
use crate::authority::state::Snapshot;
use crate::authority::state::StoreFeed;
use crate::authority::store::Store;
use crate::authority::trust::TrustBundles;

/// Decides who gets tokens and whose use of them is allowed.
pub struct Authority {
    policy: Policy,
    roles: ArcSwap<RoleGrants>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Arc<dyn Store>,
    key_sealer: KeySealer,
    snapshot: ArcSwap<Snapshot>,
    snapshot_writer: Mutex<()>,
    trust: ArcSwap<TrustBundles>,
    trust_generation: AtomicU64,
    verified: VerifiedTokens,
    vouched: VouchedCertificates,
    jwks_source: OnceLock<Arc<dyn JwksSource>>,
    metrics: Metrics,
    audit: Arc<dyn AuditSink>,
    reloads: Reloads,
    store_feed: StoreFeed,
}

impl Authority {
    /// An authority without registrations: [`Authority::load`] reads them from the store. `keys` are those in the store, so
    /// that it need not open them again; from then on the store says which there are.
    pub fn new(
        policy: Policy,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Arc<dyn Store>,
        keys: SigningKeys,
        key_sealer: KeySealer,
        trust: TrustBundles,
    ) -> Self {
        Self {
            roles: ArcSwap::from_pointee(policy.roles.clone()),
            policy,
            clock,
            entropy,
            store,
            key_sealer,
            snapshot: ArcSwap::from_pointee(Snapshot::new(keys)),
            snapshot_writer: Mutex::default(),
            trust: ArcSwap::from_pointee(trust),
            trust_generation: AtomicU64::new(0),
            verified: VerifiedTokens::default(),
            vouched: VouchedCertificates::default(),
            jwks_source: OnceLock::new(),
            metrics: Metrics::default(),
            audit: Arc::new(LogSink),
            reloads: Reloads::default(),
            store_feed: StoreFeed::default(),
        }
    }

    /// The same with the audit trail going to `sink` instead of the log.
    #[must_use]
    pub fn with_audit(self, sink: Arc<dyn AuditSink>) -> Self {
        Self { audit: sink, ..self }
    }

    /// What the configuration settled.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The clock that all decisions go by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The signing keys as they are now.
    pub fn keys(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.snapshot.load().keys)
    }

    /// How often each thing was decided.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What could not be taken when it was last read again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Gives the roles to others. Who has lost one is refused at its next request, whichever connection that comes over.
    pub fn replace_roles(&self, roles: RoleGrants) {
        self.roles.store(Arc::new(roles));
    }

    /// Counts the changes of bundles and client CAs: a path that was proven under another count must be proven again.
    pub fn trust_generation(&self) -> u64 {
        self.trust_generation.load(Ordering::Acquire)
    }

    /// What vouches for peers now.
    pub fn trust(&self) -> Arc<TrustBundles> {
        self.trust.load_full()
    }

    /// Puts other bundles and client CAs in the place of the present ones. Where they vouch for the same and are only
    /// fresher, nobody has to be proven again.
    pub fn replace_trust(&self, trust: TrustBundles) {
        let same = self.trust.swap(Arc::new(trust)).vouch_like(&self.trust.load());
        if !same {
            self.trust_generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("policy", &self.policy).finish_non_exhaustive()
    }
}
