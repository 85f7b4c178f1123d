//! The state that one request is decided by, taken once, so that no decision sees half of a concurrent change.

use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;

use crate::authority::access::RegisteredGrant;
use crate::authority::access::RoleGrants;
use crate::authority::access::Roles;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::freshness::Undecidable;
use crate::authority::state::snapshot::Snapshot;
use crate::authority::trust::TrustBundles;

/// The snapshot with the signing keys, the bundles, the roles and the time at one moment. Each message of a stream has its
/// own view.
#[derive(Clone, Debug)]
pub struct View {
    /// The time of the request. No clock is read again while the request is handled.
    pub now: Timestamp,
    /// The registrations, the revocations and the signing keys.
    pub snapshot: Arc<Snapshot>,
    /// The bundles and client CAs that prove peers.
    pub trust: Arc<TrustBundles>,
    /// The number of changes of `trust`. It is read before `trust`, so that it is never newer.
    pub trust_generation: u64,
    /// The identities that hold each role.
    pub roles: Arc<RoleGrants>,
    /// How old the snapshot may be; `None` where the store was never read.
    pub staleness: Option<Duration>,
    /// How old it may be for decisions, unless a resource says otherwise; `None` where there is no limit.
    pub max_staleness: Option<Duration>,
}

impl View {
    /// Whether decisions may use the snapshot: about a resource with this bound of its own, if it has one.
    pub fn freshness(&self, own: Option<Duration>) -> Result<(), Undecidable> {
        if self.snapshot.needs_newer_version() {
            return Err(Undecidable::RecordTooNew);
        }
        match (self.bound(own), self.staleness) {
            (Some(bound), Some(age)) if age > bound => Err(Undecidable::Stale),
            _ => Ok(()),
        }
    }

    /// The shortest of the bounds of these audiences, where any sets one.
    pub fn shortest_bound<'a>(&self, audiences: impl Iterator<Item = &'a str>) -> Option<Duration> {
        let bounds = audiences.filter_map(|audience| self.bound(self.snapshot.resources.bound_of(audience)));
        bounds.min()
    }

    /// The shortest and the longest time for which a decision may use the snapshot: the configured one, and those of
    /// resources.
    pub fn bounds(&self) -> Option<(Duration, Duration)> {
        let default = self.max_staleness?;
        let (shortest, longest) = self.snapshot.resources.bounds().unwrap_or((default, default));
        Some((shortest.min(default), longest.max(default)))
    }

    /// How long an allowance made now may be cached: at most `longest`, and not after the snapshot becomes stale for a
    /// resource with this bound of its own.
    pub fn verdict_ttl(&self, longest: Duration, own: Option<Duration>) -> Duration {
        match (self.bound(own), self.staleness) {
            (Some(bound), Some(age)) => longest.min(Duration::from_secs(bound.saturating_sub(age).as_secs())),
            _ => longest,
        }
    }

    /// A resource's own bound has no effect where the configuration sets none.
    fn bound(&self, own: Option<Duration>) -> Option<Duration> {
        self.max_staleness.map(|default| own.unwrap_or(default))
    }

    /// Whether a certificate is accepted by its thumbprint: registered, published by a registered client, or listed for
    /// a role.
    pub fn is_known_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.snapshot.has_certificate(thumbprint, self.now) || self.roles.names_certificate(thumbprint)
    }

    /// The grants that a peer holds: those of which its SPIFFE ID is an admin.
    pub fn grants_of(&self, peer: &PeerIdentity) -> Vec<Arc<RegisteredGrant>> {
        peer.spiffe_id().map(|id| self.grants_held_by(id)).unwrap_or_default()
    }

    /// The grants that the holder of a SPIFFE ID has.
    pub fn grants_held_by(&self, id: &SpiffeId) -> Vec<Arc<RegisteredGrant>> {
        let held =
            self.snapshot.grants.all().filter(|grant| grant.suspended.is_none() && grant.registration.is_held_by(id));
        held.map(Arc::clone).collect()
    }

    /// The roles that a peer holds.
    pub fn roles_of(&self, peer: &PeerIdentity) -> Roles {
        let registered = peer.spiffe_id().is_none() && self.snapshot.knows(peer, self.now);
        self.roles.roles_of(peer, registered)
    }
}
