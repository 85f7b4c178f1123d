//! What a protected resource requires of each use of a token.

use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::evidence::EvidenceGrade;
use crate::authority::resources::delegated::Delegated;
use crate::authority::resources::resource::ProtectedResource;
use crate::authority::scope::Scope;

/// The requirements of a protected resource for one use of a token.
#[derive(Clone, Debug)]
pub struct Demands<'a> {
    /// The audience of the resource.
    pub audience: &'a str,
    /// Whether the resource was deleted, so that every use is denied.
    pub deleted: bool,
    /// Whether the record of the resource cannot be read, so that every use is denied.
    pub suspended: bool,
    /// The scopes that the use needs.
    pub scope: Scope,
    /// The lowest grade of evidence that the resource accepts.
    pub least_evidence: EvidenceGrade,
    /// The trust domains whose workloads it accepts. An empty list accepts all, and clients without a SPIFFE ID.
    pub trust_domains: Arc<[TrustDomain]>,
    /// The delegated tokens that it takes. `None` where it takes none.
    pub delegated: Option<Arc<Delegated>>,
    /// The scopes that the resource defines: of a token's scopes only these count there. `None` where it defines none.
    pub defined: Option<Arc<Scope>>,
    /// How old the snapshot may be, in place of the configured bound.
    pub max_staleness: Option<Duration>,
}

impl<'a> Demands<'a> {
    /// The requirements for an audience: those of its registered resource, or else the defaults.
    pub fn of(audience: &'a str, resource: Option<&ProtectedResource>, scope: Scope) -> Self {
        let least_evidence = resource.map_or(EvidenceGrade::Thumbprint, |resource| resource.least_evidence);
        let trust_domains = resource.map(|resource| Arc::clone(&resource.trust_domains)).unwrap_or_default();
        let defined = resource.and_then(|resource| resource.defined.clone());
        let max_staleness = resource.and_then(|resource| resource.max_staleness);
        let delegated = resource.and_then(|resource| resource.delegated.clone());
        let suspended = resource.is_some_and(|resource| resource.suspended);
        Self {
            audience,
            deleted: false,
            suspended,
            scope,
            least_evidence,
            trust_domains,
            delegated,
            defined,
            max_staleness,
        }
    }

    /// Whether the resource defines the scopes that the use needs.
    pub(in crate::authority) fn define_scope(&self) -> bool {
        self.defined.as_ref().is_none_or(|defined| defined.covers(&self.scope))
    }

    /// Whether a scope of a token counts at the resource.
    pub(in crate::authority) fn counts(&self, scope: &str) -> bool {
        self.defined.as_ref().is_none_or(|defined| defined.contains(scope))
    }

    /// Whether the resource accepts holders, and subjects, of this trust domain.
    pub(in crate::authority) fn accept(&self, holder: Option<&SpiffeId>) -> bool {
        let belongs = |id: &SpiffeId| self.trust_domains.iter().any(|trust_domain| id.is_member_of(trust_domain));
        self.trust_domains.is_empty() || holder.is_some_and(belongs)
    }
}
