//! What a protected resource demands of one use of a token.

use std::sync::Arc;

use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::evidence::EvidenceGrade;
use crate::authority::resources::resource::ProtectedResource;
use crate::authority::scope::Scope;

/// What the protected resource demands of a use.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Its audience.
    pub audience: String,
    /// The scopes that the use needs.
    pub scope: Scope,
    /// The least evidence that it accepts.
    pub least_evidence: EvidenceGrade,
    /// The trust domains whose workloads it accepts; none stands for all, and for clients without a SPIFFE ID.
    pub trust_domains: Arc<[TrustDomain]>,
}

impl Demands {
    /// What is demanded for an audience: what is registered of the resource, or else the default.
    pub fn of(audience: &str, resource: Option<&ProtectedResource>, scope: Scope) -> Self {
        let least_evidence = resource.map_or(EvidenceGrade::Thumbprint, |resource| resource.least_evidence);
        let trust_domains = resource.map(|resource| Arc::clone(&resource.trust_domains)).unwrap_or_default();
        Self { audience: audience.to_owned(), scope, least_evidence, trust_domains }
    }

    /// Whether the holder of a token may come from where it comes from.
    pub(in crate::authority) fn accept(&self, holder: Option<&SpiffeId>) -> bool {
        let belongs = |id: &SpiffeId| self.trust_domains.iter().any(|trust_domain| id.is_member_of(trust_domain));
        self.trust_domains.is_empty() || holder.is_some_and(belongs)
    }
}
