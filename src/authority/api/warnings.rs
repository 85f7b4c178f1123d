//! What the registry accepts, although it may not be what its author expects.

use crate::authority::Authority;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::resources::RegisteredResource;

impl Authority {
    /// The warnings about a client, as sentences: a trust domain without a bundle, and scopes that none of its audiences
    /// defines.
    pub fn client_warnings(&self, client: &RegisteredClient) -> Vec<String> {
        let registration = &client.registration;
        let mut warnings = Vec::new();
        if let TokenEndpointAuthMethod::Spiffe(_, claim) = &registration.method
            && let Some(trust_domain) = claim.trust_domain()
            && !self.trust().trust_domains.contains_key(&trust_domain)
        {
            warnings.push(format!("there is no bundle of the trust domain {trust_domain}: the client cannot connect"));
        }
        let audience = registration.terms.audience.iter().map(String::as_str);
        let defined = self.snapshot.load().resources.defined_by(audience);
        let undefined = registration.terms.scope.restricted(|scope| !defined.counts(scope));
        if !undefined.is_empty() {
            warnings.push(format!("none of its audiences defines the scope {undefined}: no token has it"));
        }
        warnings
    }

    /// The warnings about a protected resource, as sentences: one without routes denies every check.
    pub fn resource_warnings(&self, resource: &RegisteredResource) -> Vec<String> {
        let no_routes = resource.registration.metadata.routes.is_empty();
        no_routes
            .then(|| "it has no routes: every request that a proxy asks about is denied".to_owned())
            .into_iter()
            .collect()
    }
}
