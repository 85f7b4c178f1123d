//! What those who follow the snapshot may know of it.

use std::sync::Arc;

use spiffe::TrustDomain;

use crate::authority::access::fronted::Fronted;

/// What an edge is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EdgeGrant {
    /// What decisions at its resources take.
    Decisions(DecisionsGrant),
    /// Revocations and verification keys only.
    Revocations,
}

/// The resources that an edge decides about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecisionsGrant {
    /// The resources, by audience.
    pub resources: Fronted,
    /// Only clients whose SPIFFE ID is in one of these trust domains; empty: all clients.
    pub trust_domains: Arc<[TrustDomain]>,
}

impl DecisionsGrant {
    /// Whether everything is granted.
    pub fn is_whole(&self) -> bool {
        self.resources == Fronted::Every && self.trust_domains.is_empty()
    }
}
