//! The core: all decisions, without sockets, async runtime, protobuf or database.
//!
//! [`Authority`] serves every protocol. It answers from snapshots in memory; only changes of registrations wait for the
//! store.
// Code outside the core uses only the `pub` items of these modules.
pub mod access;
mod api;
pub mod backup;
mod caches;
pub mod clock;
pub mod decision;
pub mod deny_reason;
pub mod edges;
pub mod evidence;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod identity;
pub mod json;
pub mod keys;
pub mod observe;
pub mod policy;
pub mod records;
pub mod reference;
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
use crate::authority::caches::RedeemedReceipts;
use crate::authority::caches::RefusedChains;
use crate::authority::caches::SeenTransactions;
use crate::authority::caches::VerifiedTokens;
use crate::authority::caches::VerifiedTxnTokens;
use crate::authority::caches::VouchedCertificates;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::edges::SnapshotFeed;
use crate::authority::keys::KeySealer;
use crate::authority::keys::SigningKeys;
use crate::authority::keys::SpareKeys;
use crate::authority::observe::AuditSink;
use crate::authority::observe::DecisionRollup;
use crate::authority::observe::Followers;
use crate::authority::observe::LogSink;
use crate::authority::observe::Metrics;
use crate::authority::observe::RecentRefusals;
use crate::authority::observe::Reloads;
use crate::authority::observe::SeenIdentities;
use crate::authority::observe::WaitingProposals;
use crate::authority::policy::Policy;
use crate::authority::reference::ReplicaTag;
use crate::authority::state::JwksSource;
use crate::authority::state::Replica;
use crate::authority::state::Snapshot;
use crate::authority::state::StoreFeed;
use crate::authority::store::Store;
use crate::authority::trust::AssertionUses;
use crate::authority::trust::KnownSignatures;
use crate::authority::trust::TrustBundles;

/// Decides which clients receive tokens and which uses of the tokens are allowed.
pub struct Authority {
    policy: Policy,
    roles: ArcSwap<RoleGrants>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Arc<dyn Store>,
    key_sealer: KeySealer,
    spare_keys: SpareKeys,
    snapshot: ArcSwap<Snapshot>,
    snapshot_writer: Mutex<()>,
    trust: ArcSwap<TrustBundles>,
    trust_generation: AtomicU64,
    verified: VerifiedTokens,
    vouched: VouchedCertificates,
    refused_chains: RefusedChains,
    signatures: KnownSignatures,
    assertion_uses: AssertionUses,
    grant_uses: AssertionUses,
    redeemed: RedeemedReceipts,
    verified_txn: VerifiedTxnTokens,
    seen_txns: SeenTransactions,
    jwks_source: OnceLock<Arc<dyn JwksSource>>,
    metrics: Metrics,
    audit: Arc<dyn AuditSink>,
    refusals: RecentRefusals,
    followers: Arc<Followers>,
    seen: SeenIdentities,
    rollup: DecisionRollup,
    reloads: Reloads,
    waiting_proposals: WaitingProposals,
    store_feed: StoreFeed,
    /// What edges and verifiers follow.
    snapshot_feed: SnapshotFeed,
    /// This replica of several that share the store; `None` where the store is this process's own.
    replica: Option<Replica>,
    is_edge: bool,
}

impl Authority {
    /// Creates an authority without registrations: [`Authority::load`] reads them from the store. `keys` are the keys
    /// in the store, so that `load` does not open them again; after that the store determines the set of keys.
    pub fn new(
        policy: Policy,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        store: Arc<dyn Store>,
        keys: SigningKeys,
        key_sealer: KeySealer,
        trust: TrustBundles,
    ) -> Self {
        let mut seed = [0; 8];
        // Without randomness it can be guessed which requests share a set: then a flood of them displaces others of that set.
        let seed = entropy.fill(&mut seed).map_or(0, |()| u64::from_be_bytes(seed));
        let rollup = DecisionRollup::new(clock.now(), seed);
        Self {
            roles: ArcSwap::from_pointee(policy.roles.clone()),
            policy,
            seen: SeenIdentities::new(clock.now()),
            clock,
            entropy,
            store,
            key_sealer,
            spare_keys: SpareKeys::default(),
            snapshot: ArcSwap::from_pointee(Snapshot::new(keys)),
            snapshot_writer: Mutex::default(),
            trust: ArcSwap::from_pointee(trust),
            trust_generation: AtomicU64::new(0),
            verified: VerifiedTokens::default(),
            vouched: VouchedCertificates::default(),
            refused_chains: RefusedChains::default(),
            signatures: KnownSignatures::default(),
            assertion_uses: AssertionUses::default(),
            grant_uses: AssertionUses::default(),
            redeemed: RedeemedReceipts::default(),
            verified_txn: VerifiedTxnTokens::default(),
            seen_txns: SeenTransactions::default(),
            jwks_source: OnceLock::new(),
            metrics: Metrics::default(),
            audit: Arc::new(LogSink),
            refusals: RecentRefusals::new(ReplicaTag::of("")),
            followers: Arc::default(),
            rollup,
            reloads: Reloads::default(),
            waiting_proposals: WaitingProposals::default(),
            store_feed: StoreFeed::default(),
            snapshot_feed: SnapshotFeed::default(),
            replica: None,
            is_edge: false,
        }
    }

    /// Shares the store with other replicas, under a name of its own.
    #[must_use]
    pub fn as_replica(self, name: String) -> Self {
        Self { refusals: RecentRefusals::new(ReplicaTag::of(&name)), replica: Some(Replica::new(name)), ..self }
    }

    /// Decides by what the centre sends, under a name of its own: it has no key that signs, and changes nothing.
    #[must_use]
    pub fn as_edge(self, name: &str) -> Self {
        Self { refusals: RecentRefusals::new(ReplicaTag::of(name)), is_edge: true, ..self }
    }

    /// Whether this is an edge.
    pub fn is_edge(&self) -> bool {
        self.is_edge
    }

    /// Sends the audit trail to `sink` instead of the log.
    #[must_use]
    pub fn with_audit(self, sink: Arc<dyn AuditSink>) -> Self {
        Self { audit: sink, ..self }
    }

    /// The settings from the configuration.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The clock that all decisions use.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The current signing keys.
    pub fn keys(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.snapshot.load().keys)
    }

    /// The counters of all decisions.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Why the recent refusals were refused.
    pub fn refusals(&self) -> &RecentRefusals {
        &self.refusals
    }

    /// What was asked at the resources, and what came of it.
    pub fn rollup(&self) -> &DecisionRollup {
        &self.rollup
    }

    /// Which reloads failed at their last attempt.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Replaces the role grants. A caller that has lost a role is refused at its next request, on any connection.
    pub fn replace_roles(&self, roles: RoleGrants) {
        self.roles.store(Arc::new(roles));
        self.set_edge_grants();
    }

    /// The number of changes of bundles and client CAs so far. A path that was validated under another generation must
    /// be validated again.
    pub fn trust_generation(&self) -> u64 {
        self.trust_generation.load(Ordering::Acquire)
    }

    /// The current bundles and client CAs.
    pub fn trust(&self) -> Arc<TrustBundles> {
        self.trust.load_full()
    }

    /// Replaces the bundles and client CAs. If the new ones authenticate the same peers and are only fresher, no peer
    /// has to be validated again.
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
