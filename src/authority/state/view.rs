//! What one request is decided by, taken once: no decision sees half of a change that is made while it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::access::RoleGrants;
use crate::authority::access::Roles;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::keys::SigningKeys;
use crate::authority::state::freshness::Stale;
use crate::authority::state::snapshot::Snapshot;
use crate::authority::trust::TrustBundles;

/// The snapshot, the keys, the bundles, the roles and the time at one moment. Each message of a stream has its own.
#[derive(Clone, Debug)]
pub struct View {
    /// The moment. Nothing on the way of a request reads a clock again.
    pub now: Timestamp,
    /// What is registered and revoked.
    pub snapshot: Arc<Snapshot>,
    /// The signing keys.
    pub keys: Arc<SigningKeys>,
    /// What vouches for peers.
    pub trust: Arc<TrustBundles>,
    /// Counts the changes of `trust`. It was read before, so that it is never newer than what it counts.
    pub trust_generation: u64,
    /// Who holds which role.
    pub roles: Arc<RoleGrants>,
    /// The last moment at which decisions may go by the snapshot, where there is one.
    pub stale_after: Option<Timestamp>,
}

impl View {
    /// Whether decisions may go by the snapshot.
    pub fn freshness(&self) -> Result<(), Stale> {
        if self.stale_after.is_some_and(|last| self.now > last) { Err(Stale) } else { Ok(()) }
    }

    /// How long an allowance made now may be kept: `longest`, and not beyond the moment at which the snapshot is stale.
    pub fn verdict_ttl(&self, longest: Duration) -> Duration {
        self.stale_after.map_or(longest, |last| longest.min(self.now.until(last)))
    }

    /// Whether a certificate is accepted as it is: registered, published by a registered client, or listed for a role.
    pub fn is_known_certificate(&self, thumbprint: &CertificateThumbprint) -> bool {
        self.snapshot.has_certificate(thumbprint, self.now) || self.roles.names_certificate(thumbprint)
    }

    /// The roles that a peer holds.
    pub fn roles_of(&self, peer: &PeerIdentity) -> Roles {
        let registered = peer.spiffe_id().is_none() && self.snapshot.knows(peer, self.now);
        self.roles.roles_of(peer, registered)
    }
}
