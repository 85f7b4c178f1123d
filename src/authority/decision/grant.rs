//! The decision on a token request. The certificate identifies the client, together with the assertion if the
//! registration requires one; the registration determines what is granted.

use crate::authority::clock::Timestamp;
use crate::authority::decision::client_assertion::ClientAssertion;
use crate::authority::decision::client_assertion::ProvenAssertion;
use crate::authority::decision::grant_error::GrantError;
use crate::authority::decision::grant_error::Mismatch;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::Proof;
use crate::authority::registration::CertificateSubject;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::SvidKind;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::scope::Scope;
use crate::authority::scope::distinct;
use crate::authority::scope::is_audience_count;
use crate::authority::scope::is_resource_indicator;
use crate::authority::state::Snapshot;

/// A request by the client credentials grant (RFC 6749 section 4.4).
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The claimed `client_id`. A caller with an SVID or an assertion may leave it out.
    pub client_id: Option<String>,
    /// The client assertion, which authenticates the client besides the certificate.
    pub assertion: ClientAssertion,
    /// Space-separated scopes. Empty means all that are registered.
    pub scope: String,
    /// Resource indicators. Empty means all that are registered.
    pub audience: Vec<String>,
}

/// What a request proved about its sender.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The peer of the connection.
    pub peer: &'a PeerIdentity,
    /// The client assertion.
    pub assertion: Option<&'a ProvenAssertion>,
    /// Whether the server issues tokens that are bound to no certificate.
    pub unbound_tokens: bool,
}

impl Credentials<'_> {
    /// The client's name: the claimed `client_id`, or else the SPIFFE ID of its SVID. `None` if there is neither. The subject
    /// of an issuer outside of SPIFFE names no client.
    pub fn name(&self, claimed: Option<&str>) -> Result<Option<ClientId>, GrantError> {
        let proven = || match self.assertion {
            Some(assertion) => assertion.spiffe_id(),
            None => self.peer.spiffe_id(),
        };
        match claimed {
            Some(text) => ClientId::parse(text).map(Some).ok_or(GrantError::InvalidRequest),
            None => Ok(proven().map(ClientId::from)),
        }
    }

    /// Whether a client's tokens must be bound: the global setting forbids unbound ones, or the registration does.
    pub fn binds(&self, client: &RegisteredClient) -> bool {
        client.registration.terms.bound || !self.unbound_tokens
    }
}

/// A token that may be issued.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The client identifier in the token.
    pub client_id: ClientId,
    /// The client's registration.
    pub client: std::sync::Arc<RegisteredClient>,
    /// The granted scopes.
    pub scope: Scope,
    /// The granted audiences.
    pub audience: Vec<String>,
    /// When the token expires: never after the certificate that it is bound to.
    pub expires: Timestamp,
    /// Whether the token must be bound to the certificate.
    pub bound: bool,
}

/// A registration of a caller.
#[derive(Clone, Debug)]
pub struct OwnRegistration {
    /// The `client_id` to request tokens with.
    pub client_id: ClientId,
    /// The registration.
    pub client: std::sync::Arc<RegisteredClient>,
    /// Why the caller gets no token with its certificate, if it gets none.
    pub problem: Option<Mismatch>,
}

/// Decides on a token request.
pub fn grant(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Grant, GrantError> {
    grant_by_steps(snapshot, credentials, request, now, &mut Unexplained)
}

/// The steps by which [`grant`] comes to its decision.
pub fn explain_grant(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    request: &TokenRequest,
    now: Timestamp,
) -> Vec<Step> {
    let mut steps = Steps::default();
    match grant_by_steps(snapshot, credentials, request, now, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn grant_by_steps(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    request: &TokenRequest,
    now: Timestamp,
    walk: &mut impl Walk,
) -> Result<Grant, GrantError> {
    let peer = credentials.peer;
    walk.at(Check::ClientId, || {
        let sent = request.client_id.clone().unwrap_or_default();
        (sent, "a client_id, or an SVID that names the client".to_owned())
    });
    let client_id = credentials.name(request.client_id.as_deref())?.ok_or(GrantError::InvalidRequest)?;
    let client = authenticate_by_steps(snapshot, credentials, &client_id, now, walk)?;
    let registration = &client.registration;
    walk.at(Check::OperatorLimit, || {
        let limit = snapshot.directory.limit_of(&client).map(|limit| limit.registration.client_id.to_string());
        (registration.client_id.to_string(), limit.map(|limit| format!("within {limit}")).unwrap_or_default())
    });
    // A client that a workload registered for itself never exceeds what an operator has registered for it, even if the
    // operator's registration is newer.
    if let Some(limit) = snapshot.directory.limit_of(&client) {
        match registration.exceeded_field(&limit.registration) {
            None => {}
            Some("token_endpoint_auth_method") => return Err(Mismatch::Assertion.into()),
            Some("audience") => return Err(GrantError::InvalidTarget),
            Some(_) => return Err(GrantError::InvalidScope),
        }
    }
    walk.at(Check::Scope, || compared(&request.scope, &registration.terms.scope));
    let asked = Scope::parse(&request.scope).map_err(|_| GrantError::InvalidScope)?;
    if !registration.terms.scope.covers(&asked) {
        return Err(GrantError::InvalidScope);
    }
    let registered = &registration.terms.audience;
    walk.at(Check::Audience, || (request.audience.join(" "), registered.join(" ")));
    if !is_audience_count(request.audience.len())
        || !request.audience.iter().all(|audience| registered.contains(audience))
    {
        return Err(GrantError::InvalidTarget);
    }
    let audience = distinct(if request.audience.is_empty() { registered } else { &request.audience });
    walk.at(Check::ResourceRecord, || {
        let suspended = audience.iter().filter(|audience| snapshot.resources.is_suspended(audience));
        let suspended: Vec<&str> = suspended.map(String::as_str).collect();
        let found =
            if suspended.is_empty() { "readable".to_owned() } else { format!("unreadable: {}", suspended.join(" ")) };
        (found, "readable".to_owned())
    });
    if audience.iter().any(|audience| snapshot.resources.is_suspended(audience)) {
        return Err(GrantError::ResourceSuspended);
    }
    // RFC 9068 section 2.2.3: the scopes of a token mean what its resources define by them.
    let defined = snapshot.resources.defined_by(audience.iter().map(String::as_str));
    let wanted = if asked.is_empty() { &registration.terms.scope } else { &asked };
    let scope = wanted.restricted(|scope| defined.counts(scope));
    walk.at(Check::Scope, || (scope.to_string(), format!("{asked}, as its resources define it")));
    if !scope.covers(&asked) {
        return Err(GrantError::InvalidScope);
    }
    let expires = now.after(registration.terms.access_token_ttl).min(peer.certificate().not_after());
    let bound = credentials.binds(&client);
    Ok(Grant { client_id, client, scope, audience, expires, bound })
}

/// The most bytes of a list of names in an explanation.
const MAX_LIST_BYTES: usize = 512;

/// What a refused request asks for beyond what its client may have, and what that is. It is for the client alone, whose
/// own registration it discloses: `None` where the client is not authenticated, and where something else is refused. Only
/// printable ASCII without quotation marks and backslashes, as an `error_description` must be (RFC 6749 section 5.2).
pub fn explain_refusal(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    request: &TokenRequest,
    now: Timestamp,
    error: GrantError,
) -> Option<String> {
    let client_id = credentials.name(request.client_id.as_deref()).ok().flatten()?;
    let client = authenticate(snapshot, credentials, &client_id, now).ok()?;
    let registered = &client.registration.terms.audience;
    let (foreign, allowed): (Vec<&str>, Vec<&str>) = match error {
        GrantError::InvalidScope => {
            let asked = Scope::parse(&request.scope).ok()?;
            let audience = if request.audience.is_empty() { registered } else { &request.audience };
            let defined = snapshot.resources.defined_by(audience.iter().map(String::as_str));
            let allowed = client.registration.terms.scope.restricted(|scope| defined.counts(scope));
            return explanation(
                asked.restricted(|scope| !allowed.contains(scope)).tokens(),
                "scopes",
                allowed.tokens(),
            );
        }
        GrantError::InvalidTarget => {
            let asked = request.audience.iter().filter(|one| !registered.contains(one) && is_resource_indicator(one));
            (asked.map(String::as_str).collect(), registered.iter().map(String::as_str).collect())
        }
        GrantError::InvalidClient(_)
        | GrantError::InvalidAssertion(_)
        | GrantError::InvalidIssuerJwt(_)
        | GrantError::TooManyAssertions
        | GrantError::UnknownAssertionType
        | GrantError::HalfAnAssertion
        | GrantError::ForeignConnection
        | GrantError::InvalidRequest
        | GrantError::TokenTooLarge
        | GrantError::ServerError
        | GrantError::Busy
        | GrantError::SigningUnavailable
        | GrantError::ResourceSuspended
        | GrantError::Undecidable(_) => return None,
    };
    explanation(foreign.into_iter(), "audiences", allowed.into_iter())
}

fn explanation<'a>(
    foreign: impl Iterator<Item = &'a str>,
    kind: &str,
    allowed: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let (foreign, allowed) = (list(foreign), list(allowed));
    let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed };
    (!foreign.is_empty()).then(|| {
        format!("not among the {kind} that this client may ask for here: {foreign}; it may ask for: {allowed}")
    })
}

/// Names, separated by spaces, as many as fit.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for name in names {
        if list.len() + name.len() > MAX_LIST_BYTES {
            list.push_str(" ...");
            break;
        }
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str(name);
    }
    list
}

/// Compares what was proven with what the registration of `client_id` expects (RFC 8705 section 2,
/// draft-ietf-oauth-spiffe-client-auth section 3).
pub fn authenticate(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    client_id: &ClientId,
    now: Timestamp,
) -> Result<std::sync::Arc<RegisteredClient>, Mismatch> {
    authenticate_by_steps(snapshot, credentials, client_id, now, &mut Unexplained)
}

/// The steps by which [`authenticate`] comes to its result.
pub fn explain_client(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    client_id: &ClientId,
    now: Timestamp,
) -> Vec<Step> {
    let mut steps = Steps::default();
    match authenticate_by_steps(snapshot, credentials, client_id, now, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

pub(in crate::authority::decision) fn authenticate_by_steps(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    client_id: &ClientId,
    now: Timestamp,
    walk: &mut impl Walk,
) -> Result<std::sync::Arc<RegisteredClient>, Mismatch> {
    walk.at(Check::Client, || compared(snapshot.directory.status(client_id), client_id));
    let client = match snapshot.directory.status(client_id) {
        ClientStatus::Unknown => return Err(Mismatch::UnknownClient),
        ClientStatus::Ambiguous => return Err(Mismatch::AmbiguousClient),
        ClientStatus::Disabled => return Err(Mismatch::DisabledClient),
        ClientStatus::Suspended => return Err(Mismatch::SuspendedClient),
        ClientStatus::Registered(client) => client,
    };
    let Credentials { peer, assertion, .. } = credentials;
    walk.at(Check::ClientAssertion, || {
        let found = if assertion.is_some() { "a client assertion" } else { "no client assertion" };
        (found.to_owned(), client.registration.method.name().to_owned())
    });
    // Exactly one method: an assertion beside a certificate that authenticates would be a second one (RFC 7521 section
    // 4.2.1). A certificate beside an assertion only binds.
    if assertion.is_some() != client.registration.method.takes_assertion() {
        return Err(Mismatch::Assertion);
    }
    walk.at(Check::Credentials, || {
        let asserted = assertion.map(|assertion| format!(", assertion of {assertion}")).unwrap_or_default();
        (format!("{peer}{asserted}"), client.registration.method.expectation())
    });
    let matches = match &client.registration.method {
        // draft-ietf-oauth-spiffe-client-auth section 3.2: the client_id equals the URI SAN, which the pattern covers.
        TokenEndpointAuthMethod::Spiffe(SvidKind::X509, claim) => {
            peer.spiffe_id().is_some_and(|id| ClientId::from(id) == *client_id && claim.matches(id))
        }
        // Section 3.1 requires the same of `sub`; section 5.1 defines its pattern.
        TokenEndpointAuthMethod::Spiffe(SvidKind::Jwt, claim) => {
            let own = |id| ClientId::from(id) == *client_id && claim.matches(id);
            if !assertion.and_then(ProvenAssertion::spiffe_id).is_some_and(own) {
                return Err(Mismatch::Assertion);
            }
            *peer.proof() != Proof::Unknown
        }
        // RFC 7523 section 3. The certificate may be any, since the token is bound to it and nothing in it is believed.
        TokenEndpointAuthMethod::IssuerJwt(registered) => match assertion {
            Some(ProvenAssertion::Issuer(jwt)) if jwt.is_of(registered) => true,
            Some(ProvenAssertion::Issuer(_) | ProvenAssertion::Svid(_)) | None => return Err(Mismatch::Assertion),
        },
        TokenEndpointAuthMethod::TlsClientAuth(registered) => {
            registered.subject.is_proven_by(peer, registered.client_ca.as_ref())
                && CertificateSubject::of(peer.certificate().names()).contains(&registered.subject)
        }
        TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) => {
            registered.certificates.contains(&peer.thumbprint())
        }
        TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => {
            snapshot.published_jwks.has(&client, &peer.thumbprint(), now)
        }
    };
    if !matches {
        return Err(Mismatch::Certificate);
    }
    walk.at(Check::Revocation, || {
        (format!("{client_id} of {}", client.registration.client_id), "neither is revoked".to_owned())
    });
    // Checks both names: the claimed one, and the registered one, which may be a pattern's.
    let names = [client_id, &client.registration.client_id];
    let revoked = names.into_iter().any(|name| snapshot.revocations.has_client(name, now));
    // An assertion, unlike the peer, has not passed the handshake.
    let asserted_id = assertion.and_then(ProvenAssertion::spiffe_id);
    let asserted = asserted_id.is_some_and(|id| snapshot.revocations.has_identity(id, now));
    if revoked || asserted {
        return Err(Mismatch::RevokedClient);
    }
    walk.at(Check::Binding, || {
        let expected =
            if credentials.binds(&client) { "a certificate of the client itself" } else { "any certificate" };
        compared(peer, expected)
    });
    // Otherwise a stolen assertion would be enough for any caller with a certificate of its own.
    let foreign = asserted_id.is_some_and(|id| peer.spiffe_id() != Some(id));
    if foreign && credentials.binds(&client) { Err(Mismatch::Connection) } else { Ok(client) }
}
