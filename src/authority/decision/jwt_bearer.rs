//! The decision on a grant of the authorization server of another trust domain (RFC 7523 section 2.1,
//! draft-ietf-oauth-identity-chaining section 2.4): whether the client that is authenticated may act here for whom it names. It is a
//! pure function of its request.

use crate::authority::decision::exchange_client::authenticated;
use crate::authority::decision::exchange_client::lets_act;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_parts::accepted;
use crate::authority::decision::exchange_parts::acting;
use crate::authority::decision::exchange_parts::given_of;
use crate::authority::decision::exchange_request::Exchange;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::registration::ClientId;
use crate::authority::registration::JWT_BEARER_GRANT;
use crate::authority::registration::MAX_ACTORS;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::translated;
use crate::authority::state::Snapshot;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Ancestry;
use crate::authority::trust::ForeignToken;
use crate::authority::trust::GrantTerms;
use crate::authority::trust::InvalidIssuerJwt;

/// Decides on a grant, which is the foreign token of the request. The order of the conditions is fixed, and the first that does not
/// hold is the reason.
pub fn jwt_bearer(exchanging: &Exchanging<'_>) -> Result<Exchange, ExchangeError> {
    by_steps(exchanging, &mut Unexplained)
}

/// The steps by which [`jwt_bearer`] comes to its decision.
pub fn explain_jwt_bearer(exchanging: &Exchanging<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    match by_steps(exchanging, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn by_steps(exchanging: &Exchanging<'_>, walk: &mut impl Walk) -> Result<Exchange, ExchangeError> {
    let Exchanging { snapshot, credentials, request, now, .. } = exchanging;
    let (client_id, client) = authenticated(snapshot, *credentials, request.client_id.as_deref(), *now, walk)?;
    walk.at(Check::GrantType, || {
        let registered = client.registration.metadata().grant_types.join(" ");
        (registered, format!("{JWT_BEARER_GRANT}, registered by an operator"))
    });
    let terms = client.registration.terms.exchange.as_deref().filter(|_| client.record.dynamic.is_none());
    if !terms.is_some_and(|terms| terms.uses_grants) {
        return Err(ExchangeError::UnauthorizedClient);
    }
    let (grant, terms) = own_grant(exchanging, &client_id, walk)?;
    let target = target(request.audience.as_slice(), terms, &client, walk)?;
    let itself = grant.subject == client_id;
    lets_act(snapshot, (&client_id, &grant.subject), true, walk)?;
    let actors = if itself { None } else { Some(actors(grant, &client_id, walk)?) };
    match &actors {
        Some(actors) => accepted(snapshot, (&client_id, &grant.subject), (target, actors), walk)?,
        None => is_registered(snapshot, target, walk)?,
    }
    let defined = snapshot.resources.defined_by(std::iter::once(target));
    let own = &client.registration.terms.scope;
    // For itself it gets no more than it might ask for without a grant.
    let given = translated(&terms.grants, &grant.scope)
        .restricted(|scope| defined.counts(scope) && (!itself || own.contains(scope)));
    let scope = given_of(&given, (&request.scope, &grant.scope), walk)?;
    let expires = now.after(terms.ttl).min(grant.expires).min(credentials.peer.certificate().not_after());
    walk.at(Check::Expiry, || (format!("exp {}", expires.0), format!("after {}", now.0)));
    if expires <= *now {
        return Err(ExchangeError::GrantInvalid(InvalidIssuerJwt::Expired));
    }
    Ok(Exchange {
        ancestry: if itself { Ancestry::default() } else { Ancestry(vec![grant.ancestor()]) },
        subject: grant.subject.to_string(),
        client_id,
        client,
        actors,
        audience: target.to_owned(),
        scope,
        issued: *now,
        expires,
        reported: false,
    })
}

/// The grant, if it is good and this client's, over this very connection.
fn own_grant<'a>(
    exchanging: &Exchanging<'a>,
    client_id: &ClientId,
    walk: &mut impl Walk,
) -> Result<(&'a ForeignToken, &'a GrantTerms), ExchangeError> {
    let found = exchanging.foreign.unwrap_or(Err(ExchangeError::RequestMalformed("the assertion is missing")));
    walk.at(Check::Subject, || {
        let found = match found {
            Ok(grant) => format!("{} of {}, for {}", grant.jti, grant.trusted.issuer, grant.subject),
            Err(why) => why.to_string(),
        };
        (found, "a grant of an issuer in chaining.from, not revoked here".to_owned())
    });
    let grant = found?;
    let terms = grant.grant_terms().ok_or(ExchangeError::GrantInvalid(InvalidIssuerJwt::UnknownIssuer))?;
    walk.at(Check::ClientId, || compared(&grant.client_id, format_args!("{client_id}, one of the entry's clients")));
    if grant.client_id != client_id.as_str() || !terms.clients.iter().any(|pattern| pattern.matches(client_id)) {
        return Err(ExchangeError::GrantNotForClient);
    }
    let shown = exchanging.credentials.peer.thumbprint();
    walk.at(Check::BoundCertificate, || {
        let bound = grant.bound_to.map(|bound| format!("x5t#S256:{bound}")).unwrap_or_default();
        (bound, format!("x5t#S256:{shown}, that of this connection"))
    });
    if grant.bound_to != Some(shown) {
        return Err(ExchangeError::GrantBoundElsewhere);
    }
    walk.at(Check::ExchangeRule, || compared(&grant.subject, "one of the subjects of the entry"));
    if !terms.subjects.iter().any(|pattern| pattern.matches(&grant.subject)) {
        return Err(ExchangeError::GrantSubjectNotAccepted);
    }
    Ok((grant, terms))
}

/// The one resource that the token is for: of those of the entry, and one where the client may call for itself.
fn target<'a>(
    asked: &'a [String],
    terms: &'a GrantTerms,
    client: &RegisteredClient,
    walk: &mut impl Walk,
) -> Result<&'a str, ExchangeError> {
    let own = &client.registration.terms.audience;
    walk.at(Check::Request, || {
        (asked.join(" "), format!("one of {}, and of the client's own: {}", terms.audience.join(" "), own.join(" ")))
    });
    let target = match (asked, terms.audience.as_slice()) {
        ([asked], _) => asked,
        ([], [only]) => only,
        ([], _) => return Err(ExchangeError::RequestMalformed("the target is missing: name the resource")),
        ([_, _, ..], _) => return Err(ExchangeError::SeveralTargets),
    };
    if terms.audience.contains(target) && own.contains(target) {
        Ok(target)
    } else {
        Err(ExchangeError::TargetNotInRules)
    }
}

/// Who acts for the subject. The grant tells of the client itself as the newest actor, or of none.
fn actors(grant: &ForeignToken, client_id: &ClientId, walk: &mut impl Walk) -> Result<Actors, ExchangeError> {
    let is_client =
        |actors: &&Actors| actors.sub == client_id.as_str() && actors.iss.as_ref() == Some(&grant.trusted.issuer);
    let earlier = match &grant.actors {
        None => None,
        Some(actors) if is_client(&actors) => actors.act.as_deref(),
        Some(_) => return Err(ExchangeError::GrantInvalid(InvalidIssuerJwt::Actor)),
    };
    let most = usize::try_from(MAX_ACTORS).unwrap_or(usize::MAX);
    acting((client_id, &grant.subject), earlier, most, walk)
}

fn is_registered(snapshot: &Snapshot, target: &str, walk: &mut impl Walk) -> Result<(), ExchangeError> {
    walk.at(Check::ResourceRecord, || compared(target, "registered, and readable"));
    let registered = snapshot.resources.named(target).filter(|resource| !resource.registration.suspended);
    registered.map(|_| ()).ok_or(ExchangeError::TargetUnknown)
}
