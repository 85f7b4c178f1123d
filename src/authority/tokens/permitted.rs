//! What the registration that applies now permits of a token: a token never opens more than that, whatever it was issued
//! with.

use spiffe::TrustDomain;

use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::Rotation;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::scope::Scope;
use crate::authority::store::Revision;
use crate::authority::tokens::claims::AccessTokenClaims;
use crate::authority::tokens::claims::Audience;

/// What a token is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The registration that applies to the token's client.
    pub client: &'a RegisteredClient,
    /// The operator's registration that limits it, where the client registered itself.
    pub limit: Option<&'a RegisteredClient>,
    /// The generation of the bundles and client CAs.
    pub trust_generation: u64,
}

/// A registration at one revision of its record.
#[derive(Clone, Debug)]
struct Stamp {
    name: ClientId,
    revision: Revision,
}

impl Stamp {
    fn of(client: &RegisteredClient) -> Self {
        Self { name: client.registration.client_id.clone(), revision: client.revision }
    }

    fn is_of(&self, client: &RegisteredClient) -> bool {
        self.revision == client.revision && self.name == client.registration.client_id
    }
}

/// The result of the comparison. It holds until one of the registrations, a bundle or a client CA changes.
#[derive(Debug)]
pub struct Permitted {
    client: Stamp,
    limit: Option<Stamp>,
    trust_generation: u64,
    /// Why every use of the token is refused, if it is.
    pub refused: Option<DenyReason>,
    /// The trust domain whose bundle proves the client, if one does.
    pub trust_domain: Option<TrustDomain>,
    /// The scopes that are left; `None` where these are all scopes of the token.
    pub scope: Option<Scope>,
    /// The audiences that are left; `None` where these are all audiences of the token.
    pub audience: Option<Audience>,
    /// How far the token follows the renewal of its certificate.
    pub rotation: Rotation,
}

impl Permitted {
    /// Compares a token with the registrations. `client_ca_removed` is whether the client CA that proves the client is no
    /// longer configured.
    pub(in crate::authority) fn compare(
        (claims, scope, bound_to): (&AccessTokenClaims, Option<&Scope>, Option<CertificateThumbprint>),
        compared: Compared<'_>,
        client_ca_removed: bool,
        trust_domain: Option<TrustDomain>,
    ) -> Self {
        let Compared { client, limit, trust_generation } = compared;
        let all = || std::iter::once(client).chain(limit);
        // A token of the same second may have been issued before or after the change; it is refused.
        let changed = all().any(|one| one.record.authentication_changed_at.is_some_and(|at| claims.iat <= at))
            || !is_registered(client, bound_to);
        let refused = if changed {
            Some(DenyReason::AuthenticationChanged)
        } else {
            client_ca_removed.then_some(DenyReason::ClientCaRemoved)
        };
        let has_scope = |scope: &str| all().all(|one| one.registration.terms.scope.contains(scope));
        // The scopes of a delegated token are what a rule gave for those of its subject, and not what its holder may have.
        let own = scope.filter(|_| claims.act.is_none());
        let left = own.map(|scope| (scope, scope.restricted(has_scope)));
        let has_audience = |audience: &&String| all().all(|one| one.registration.terms.audience.contains(audience));
        let audiences: Vec<String> = claims.aud.all().iter().filter(has_audience).cloned().collect();
        let rotation = client.registration.terms.rotation;
        Self {
            client: Stamp::of(client),
            limit: limit.map(Stamp::of),
            trust_generation,
            refused,
            trust_domain,
            scope: left.filter(|(scope, left)| *scope != left).map(|(_, left)| left),
            audience: (audiences.len() < claims.aud.all().len()).then(|| audiences.into()),
            rotation: if all().all(|one| one.registration.terms.rotation == rotation) {
                rotation
            } else {
                Rotation::Strict
            },
        }
    }

    /// Whether this is the result of a comparison with the same registrations, bundles and client CAs.
    pub(in crate::authority) fn is_of(&self, compared: Compared<'_>) -> bool {
        let same_limit = match (&self.limit, compared.limit) {
            (None, None) => true,
            (Some(stamp), Some(limit)) => stamp.is_of(limit),
            (None, Some(_)) | (Some(_), None) => false,
        };
        self.trust_generation == compared.trust_generation && self.client.is_of(compared.client) && same_limit
    }

    /// Whether the token, for which the audience was issued, may still be used there.
    pub fn has_audience(&self, audience: &str) -> bool {
        self.audience.as_ref().is_none_or(|left| left.includes(audience))
    }

    /// Whether the token still has these scopes, which were issued with it.
    pub fn covers(&self, scope: &Scope) -> bool {
        self.scope.as_ref().is_none_or(|left| left.covers(scope))
    }
}

/// Whether the certificate that a token is bound to is still one of the registered ones, where the registration lists
/// them.
fn is_registered(client: &RegisteredClient, bound_to: Option<CertificateThumbprint>) -> bool {
    match &client.registration.method {
        TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) => {
            bound_to.is_none_or(|bound_to| registered.certificates.contains(&bound_to))
        }
        // Published certificates change without the registration.
        TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_)
        | TokenEndpointAuthMethod::Spiffe(..)
        | TokenEndpointAuthMethod::TlsClientAuth(_) => true,
    }
}
