//! What lies within the grants of a team's admins. The same decision counts for what is registered and for what is to be, in
//! every protocol.

use std::sync::Arc;

use crate::authority::access::RegisteredGrant;
use crate::authority::access::TeamGrant;
use crate::authority::access::Within;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::records::NotGranted;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::Rotation;
use crate::authority::registration::SpiffeClaim;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::resources::ProtectedResource;

/// A kind of registration that a grant can be about.
pub trait Delegable: Registration {
    /// Each member that a grant bounds, with whether it lies within the grant: what says whose it is comes first.
    fn members_within(&self, grant: &TeamGrant) -> Vec<(&'static str, bool)>;
}

impl Delegable for ClientRegistration {
    fn members_within(&self, grant: &TeamGrant) -> Vec<(&'static str, bool)> {
        let terms = &self.terms;
        vec![
            ("token_endpoint_auth_method", grant.covers_method(self.method.name())),
            ("spiffe_id", claim(&self.method).is_some_and(|claimed| grant.covers_spiffe_id(&claimed))),
            ("owner", grant.covers_owner(terms.owner.as_deref())),
            ("audience", terms.audience.iter().all(|audience| grant.covers_audience(audience))),
            ("scope", grant.covers_scope(&terms.scope)),
            ("access_token_ttl", grant.covers_ttl(terms.access_token_ttl)),
            ("tls_client_certificate_bound_access_tokens", terms.bound),
            // Another certificate of the same name would do.
            ("rotation", terms.rotation == Rotation::Strict),
            // It would let its clients speak for those of others. Nor does `txn` go without the grant.
            ("exchange", terms.exchange.as_ref().is_none_or(|exchange| !exchange.granted && exchange.rules.is_empty())),
            ("delegates", terms.exchange.as_ref().is_none_or(|exchange| exchange.delegates.is_none())),
            // A pattern that is disabled disables what others registered below it.
            ("disabled", !self.disabled || matches!(claim(&self.method), Some(SpiffeIdPattern::Exact(_)))),
        ]
    }
}

impl Delegable for ProtectedResource {
    fn members_within(&self, grant: &TeamGrant) -> Vec<(&'static str, bool)> {
        let metadata = &self.metadata;
        vec![
            ("audience", grant.covers_resource(&metadata.audience)),
            ("owner", grant.covers_owner(metadata.owner.as_deref())),
            ("scope", self.defined.as_ref().is_none_or(|defined| grant.covers_scope(defined))),
            ("authorities", metadata.authorities.iter().all(|authority| grant.covers_authority(authority))),
            // A workload that serves one resource has it whatever host is asked for, those of other owners too.
            ("destination_principals", metadata.destination_principals.is_empty()),
            // It would let others speak for its callers.
            ("delegated", metadata.delegated.is_none()),
            ("receipts", metadata.receipts.is_none()),
            // The longest one counts for the readiness of each replica and for the rotation of keys.
            ("max_staleness", metadata.max_staleness.is_none()),
        ]
    }
}

/// No grant is about grants: only admins change them.
impl Delegable for TeamGrant {
    fn members_within(&self, _: &TeamGrant) -> Vec<(&'static str, bool)> {
        vec![("kind", false)]
    }
}

/// The SPIFFE IDs that a client claims, if it authenticates by an SVID.
fn claim(method: &TokenEndpointAuthMethod) -> Option<SpiffeIdPattern> {
    match method {
        TokenEndpointAuthMethod::Spiffe(_, claim @ (SpiffeClaim::Exact(_) | SpiffeClaim::Below(_))) => {
            SpiffeIdPattern::parse(&claim.to_string())
        }
        TokenEndpointAuthMethod::TlsClientAuth(_)
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_) => None,
    }
}

/// Whether a registration lies within one of these grants as a whole: members of several grants are not put together.
/// Returns that grant; `None` where no grant bounds the caller. The error names the grant that covers the most, and the first
/// member beyond it.
pub fn within<'a, T: Delegable>(
    bounds: Within<'a>,
    registration: &T,
    is_present: bool,
) -> Result<Option<&'a Arc<RegisteredGrant>>, NotGranted> {
    let Within::Grants(grants) = bounds else { return Ok(None) };
    let mut nearest = (0, NotGranted { grant: String::new(), member: "kind", is_present });
    for grant in grants {
        let members = registration.members_within(&grant.registration);
        let Some((covered, (member, _))) = members.iter().enumerate().find(|(_, (_, is_within))| !is_within) else {
            return Ok(Some(grant));
        };
        if nearest.1.grant.is_empty() || covered > nearest.0 {
            let grant = grant.registration.name().to_owned();
            nearest = (covered, NotGranted { grant, member, is_present });
        }
    }
    Err(nearest.1)
}

/// Whether what is registered lies within one of these grants. One that cannot be read lies within none: what it says is
/// unknown.
pub fn present_within<T: Delegable>(bounds: Within<'_>, present: &Registered<T>) -> Result<(), NotGranted> {
    within(bounds, &present.registration, true)?;
    match bounds {
        Within::Grants([first, ..]) if present.suspended.is_some() => {
            Err(NotGranted { grant: first.registration.name().to_owned(), member: "suspended", is_present: true })
        }
        Within::Everything | Within::Grants(_) => Ok(()),
    }
}
