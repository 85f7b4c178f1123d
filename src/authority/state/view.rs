//! The state that one request is decided by, taken once, so that no decision sees half of a concurrent change.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::access::RoleGrants;
use crate::authority::access::Roles;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::freshness::Stale;
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
    /// The last moment at which decisions may use the snapshot; `None` where there is no limit.
    pub stale_after: Option<Timestamp>,
}

impl View {
    /// Whether decisions may use the snapshot at the time of the view.
    pub fn freshness(&self) -> Result<(), Stale> {
        if self.stale_after.is_some_and(|last| self.now > last) { Err(Stale) } else { Ok(()) }
    }

    /// How long an allowance made now may be cached: at most `longest`, and not after the snapshot becomes stale.
    pub fn verdict_ttl(&self, longest: Duration) -> Duration {
        self.stale_after.map_or(longest, |last| longest.min(self.now.until(last)))
    }

    /// Whether a certificate is accepted by its thumbprint: registered, published by a registered client, or listed for
    /// a role.
    pub fn is_known_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.snapshot.has_certificate(thumbprint, self.now) || self.roles.names_certificate(thumbprint)
    }

    /// The roles that a peer holds.
    pub fn roles_of(&self, peer: &PeerIdentity) -> Roles {
        let registered = peer.spiffe_id().is_none() && self.snapshot.knows(peer, self.now);
        self.roles.roles_of(peer, registered)
    }
}
