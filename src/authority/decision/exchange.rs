//! The decision on a token exchange (RFC 8693): whether the client that is authenticated may act for somebody else whose token was
//! presented to it. It is a pure function of its request.

use std::fmt;
use std::iter;
use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::decision::client_assertion::ClientAssertion;
use crate::authority::decision::exchange_client::authenticated;
use crate::authority::decision::exchange_client::consented;
use crate::authority::decision::exchange_client::terms_of;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::grant::Credentials;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::deny_reason::DenyReason;
use crate::authority::registration::ClientId;
use crate::authority::registration::ExchangeRule;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::Presentation;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Snapshot;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Ancestor;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::VerifiedReceipt;
use crate::authority::tokens::VerifiedToken;

/// A request to exchange what was presented to the client for a token of its own.
#[derive(Clone, Default)]
pub struct ExchangeRequest {
    /// As in a token request.
    pub client_id: Option<String>,
    /// As in a token request.
    pub assertion: ClientAssertion,
    /// The receipt of the presentation.
    pub receipt: Option<String>,
    /// The token that was presented. The receipt alone is enough.
    pub access_token: Option<String>,
    /// A token of the client's own, which says nothing new.
    pub actor_token: Option<String>,
    /// The targets: the new token is for exactly one.
    pub audience: Vec<String>,
    /// Space-separated scopes. Empty: all that the rule gives.
    pub scope: String,
}

/// What was presented is never logged.
impl fmt::Debug for ExchangeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ExchangeRequest").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// What is exchanged, once it has verified.
#[derive(Debug)]
pub struct ExchangeSubject {
    /// The token that was presented. Of a receipt alone, what it says of the token.
    pub token: Arc<VerifiedToken>,
    /// The receipt of its presentation, if there is one.
    pub receipt: Option<VerifiedReceipt>,
}

impl ExchangeSubject {
    /// What the receipt says.
    pub(super) fn presented(&self) -> Option<&Receipt<'static>> {
        self.receipt.as_ref().map(|verified| &verified.receipt)
    }
}

/// What an exchange is decided by.
pub struct Exchanging<'a> {
    /// The registrations.
    pub snapshot: &'a Snapshot,
    /// What the request proved about its sender.
    pub credentials: Credentials<'a>,
    /// The request.
    pub request: &'a ExchangeRequest,
    /// What is to be exchanged, or why it is not what it is said to be.
    pub subject: Result<&'a ExchangeSubject, ExchangeError>,
    /// The actor token, if there is one, or why it does not verify.
    pub actor_token: Option<Result<&'a VerifiedToken, DenyReason>>,
    /// Whether a token would be allowed now at the resource of this audience with the certificate that it is bound to: its
    /// scopes that count there, or why not.
    pub judge: &'a (dyn Fn(&VerifiedToken, &str) -> Result<Scope, DenyReason> + Sync),
    /// The time of the decision.
    pub now: Timestamp,
}

impl fmt::Debug for Exchanging<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchanging").field("request", self.request).finish_non_exhaustive()
    }
}

/// A token that may be issued in exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The client, which holds the new token and acts for the subject.
    pub client_id: ClientId,
    /// Its registration.
    pub client: Arc<RegisteredClient>,
    /// Whom the new token speaks for.
    pub subject: String,
    /// Who acts, and who acted before.
    pub actors: Actors,
    /// What the new token comes from.
    pub ancestry: Ancestry,
    /// The resource that it is for.
    pub audience: String,
    /// Its scopes.
    pub scope: Scope,
    /// The time of its issue: with a receipt that of the presentation, so that the same receipt makes the same token.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether it would have been refused, if the rule did not only report what lacks a receipt.
    pub reported: bool,
}

/// Decides on an exchange. The order of the conditions is fixed, and the first that does not hold is the reason.
pub fn exchange(exchanging: &Exchanging<'_>) -> Result<Exchange, ExchangeError> {
    exchange_by_steps(exchanging, &mut Unexplained)
}

/// The steps by which [`exchange`] comes to its decision.
pub fn explain_exchange(exchanging: &Exchanging<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    match exchange_by_steps(exchanging, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn exchange_by_steps(exchanging: &Exchanging<'_>, walk: &mut impl Walk) -> Result<Exchange, ExchangeError> {
    let Exchanging { snapshot, credentials, request, now, .. } = exchanging;
    let (client_id, client) = authenticated(snapshot, *credentials, request.client_id.as_deref(), *now, walk)?;
    let terms = terms_of(&client, walk)?;
    walk.at(Check::Request, || (request.audience.join(" "), "one target, and no actor but the client".to_owned()));
    let target = match request.audience.as_slice() {
        [] => return Err(ExchangeError::RequestMalformed("the target is missing: name it as the audience")),
        [target] => target,
        [_, _, ..] => return Err(ExchangeError::SeveralTargets),
    };
    own_actor(exchanging, &client_id)?;
    walk.at(Check::Subject, || {
        let found = match exchanging.subject {
            Ok(subject) => format!("{} of {}", subject.token.claims.jti, subject.token.claims.client_id),
            Err(why) => why.to_string(),
        };
        (found, "a token or a receipt of this server".to_owned())
    });
    let subject = exchanging.subject?;
    let claims = &subject.token.claims;
    let speaks_for = ClientId::parse(&claims.sub).ok_or(ExchangeError::SubjectInvalid(DenyReason::TokenMalformed))?;
    let at = presented_at(subject, terms, &speaks_for, target);
    let judged_at = at.or_else(|| claims.aud.all().first().map(String::as_str)).unwrap_or_default();
    let judged = (exchanging.judge)(&subject.token, judged_at);
    walk.at(Check::Subject, || {
        let found = judged.as_ref().map_or_else(ToString::to_string, |scope| format!("allowed, with {scope}"));
        (found, format!("still allowed at {judged_at}"))
    });
    let presented = judged.map_err(ExchangeError::SubjectDenied)?;
    if let Some(receipt) = subject.presented() {
        walk.at(Check::Presentation, || {
            let only = receipt.exchanger.as_deref().unwrap_or("each of the resource's exchangers");
            compared(&client_id, format_args!("{only}, as far as it is one of them"))
        });
        if !is_for(snapshot, receipt, &client_id) {
            return Err(ExchangeError::NotForClient);
        }
    }
    walk.at(Check::ExchangeRule, || {
        let found = format!("{speaks_for} at {}, for {target}", at.unwrap_or("several places"));
        (found, format!("the one of {} rules that is about it", terms.rules.len()))
    });
    let at = at.ok_or(ExchangeError::PlaceUnknown)?;
    if !terms.is_about(&speaks_for, at) {
        return Err(ExchangeError::NoRule);
    }
    let rule = terms.rule(&speaks_for, at, target).ok_or(ExchangeError::TargetNotInRules)?;
    let reported = lacks_receipt(subject, rule, walk)?;
    let actors = acting(exchanging, (&client_id, &speaks_for), subject, rule, walk)?;
    accepted(exchanging, &client_id, &speaks_for, (target, &actors), walk)?;
    let scope = translated(snapshot, (&request.scope, target), &presented, rule, walk)?;
    let issued = subject.presented().map_or(*now, |receipt| receipt.iat);
    let expires = issued.after(rule.ttl).min(claims.exp).min(credentials.peer.certificate().not_after());
    walk.at(Check::Expiry, || (format!("exp {}", expires.0), format!("after {}", now.0)));
    if expires <= *now {
        return Err(ExchangeError::LifetimeOver);
    }
    let ancestry = descended(&subject.token).ok_or(ExchangeError::SubjectInvalid(DenyReason::TokenMalformed))?;
    let (subject, audience) = (claims.sub.clone(), target.clone());
    Ok(Exchange { client_id, client, subject, actors, ancestry, audience, scope, issued, expires, reported })
}

/// An actor token adds nothing: the client is the actor. Some libraries always send one.
fn own_actor(exchanging: &Exchanging<'_>, client_id: &ClientId) -> Result<(), ExchangeError> {
    match exchanging.actor_token {
        None => Ok(()),
        Some(Ok(token))
            if token.holder.as_ref() == Some(client_id)
                && token.bound_to == Some(exchanging.credentials.peer.thumbprint()) =>
        {
            Ok(())
        }
        Some(_) => Err(ExchangeError::ActorTokenNotOwn),
    }
}

/// Whether a client may redeem a receipt: the resource still names it, and the receipt nobody else.
pub(super) fn is_for(snapshot: &Snapshot, receipt: &Receipt<'_>, client_id: &ClientId) -> bool {
    let resource = snapshot.resources.named(&receipt.at);
    let receipts = resource.and_then(|resource| resource.registration.receipts.as_ref());
    receipts.is_some_and(|receipts| receipts.may_redeem(client_id, receipt))
}

/// Where the subject was presented: as the receipt says, or else the only one of its audiences that a rule for the target is
/// about. `None` where there are several.
fn presented_at<'a>(
    subject: &'a ExchangeSubject,
    terms: &ExchangeTerms,
    speaks_for: &ClientId,
    target: &str,
) -> Option<&'a str> {
    if let Some(receipt) = subject.presented() {
        return Some(&receipt.at);
    }
    let audience = subject.token.claims.aud.all();
    let mut places = audience.iter().filter(|at| terms.rule(speaks_for, at, target).is_some());
    match (places.next(), places.next()) {
        (Some(place), None) => Some(place),
        // No rule is about it, wherever it was presented.
        (None, _) => audience.first().map(String::as_str),
        (Some(_), Some(_)) => None,
    }
}

/// Whether a receipt that the rule asks for is missing, and only reported. Otherwise what is missing, or too weak, refuses.
fn lacks_receipt(subject: &ExchangeSubject, rule: &ExchangeRule, walk: &mut impl Walk) -> Result<bool, ExchangeError> {
    walk.at(Check::Presentation, || {
        let found = subject.presented().map_or_else(
            || "no receipt".to_owned(),
            |receipt| {
                let independent = if receipt.independent { "an independent receipt" } else { "a receipt" };
                format!("{independent} of {}", receipt.grade.name())
            },
        );
        (found, format!("{}, at least {}", rule.presentation.name(), rule.least_evidence.name()))
    });
    let Some(receipt) = subject.presented() else {
        return match rule.presentation {
            Presentation::Receipt | Presentation::Independent => Err(ExchangeError::ReceiptMissing),
            Presentation::Report => Ok(true),
            Presentation::Nothing => Ok(false),
        };
    };
    if rule.presentation == Presentation::Independent && !receipt.independent {
        return Err(ExchangeError::NotIndependent);
    }
    if receipt.grade < rule.least_evidence { Err(ExchangeError::ReceiptTooWeak) } else { Ok(false) }
}

/// The actors of the new token, if the client may be one more.
fn acting(
    exchanging: &Exchanging<'_>,
    (client_id, speaks_for): (&ClientId, &ClientId),
    subject: &ExchangeSubject,
    rule: &ExchangeRule,
    walk: &mut impl Walk,
) -> Result<Actors, ExchangeError> {
    consented(exchanging.snapshot, (client_id, speaks_for), &subject.token.claims, walk)?;
    let claims = &subject.token.claims;
    let earlier = claims.act.clone();
    let acted: Vec<&str> = claims.act.iter().flat_map(Actors::all).collect();
    walk.at(Check::Delegation, || {
        let expected = format!("at most {} actors, and nobody twice", rule.max_actors);
        (iter::once(client_id.as_str()).chain(acted.iter().copied()).collect::<Vec<_>>().join(" "), expected)
    });
    if client_id == speaks_for {
        return Err(ExchangeError::ActorIsSubject);
    }
    if acted.contains(&client_id.as_str()) {
        return Err(ExchangeError::ActorInChain);
    }
    if acted.len() >= rule.max_actors {
        return Err(ExchangeError::TooManyActors);
    }
    Ok(Actors::then(earlier, client_id))
}

/// Checks that the target takes the new token.
fn accepted(
    exchanging: &Exchanging<'_>,
    client_id: &ClientId,
    speaks_for: &ClientId,
    (target, actors): (&str, &Actors),
    walk: &mut impl Walk,
) -> Result<(), ExchangeError> {
    let resources = &exchanging.snapshot.resources;
    walk.at(Check::ResourceRecord, || compared(target, "registered, and readable"));
    let registered = resources.named(target).filter(|resource| !resource.registration.suspended);
    let resource = &registered.ok_or(ExchangeError::TargetUnknown)?.registration;
    let demands = Demands::of(target, Some(resource), Scope::default());
    let count = actors.all().count();
    walk.at(Check::Delegation, || {
        let takes = demands.delegated.as_ref().map_or_else(|| "no delegated token".to_owned(), |one| one.expectation());
        (format!("{client_id} for {speaks_for}, {count} actors"), takes)
    });
    let takes = demands.delegated.as_ref().is_some_and(|delegated| delegated.accepts(Some(client_id), count));
    let accepts = |id: &ClientId| demands.accept(id.spiffe_id().as_ref());
    if takes && accepts(client_id) && accepts(speaks_for) { Ok(()) } else { Err(ExchangeError::TargetNotAccepting) }
}

/// The scopes of the new token: what the rule gives for what was presented, as far as it is asked for and the target defines it.
fn translated(
    snapshot: &Snapshot,
    (asked, target): (&str, &str),
    presented: &Scope,
    rule: &ExchangeRule,
    walk: &mut impl Walk,
) -> Result<Scope, ExchangeError> {
    let defined = snapshot.resources.defined_by(iter::once(target));
    let given = rule.translated(presented).restricted(|scope| defined.counts(scope));
    walk.at(Check::Scope, || (asked.to_owned(), format!("{given}, for {presented}")));
    let asked = Scope::parse(asked).map_err(|_| ExchangeError::InvalidScope)?;
    if given.is_empty() || !given.covers(&asked) {
        return Err(ExchangeError::InvalidScope);
    }
    // In the order of the rule, so that the same scopes are the same token.
    Ok(if asked.is_empty() { given } else { given.restricted(|scope| asked.contains(scope)) })
}

/// What a token comes from that is issued for this one.
pub(super) fn descended(token: &VerifiedToken) -> Option<Ancestry> {
    let claims = &token.claims;
    let mut ancestry = claims.lanyard_from.clone();
    ancestry.0.push(Ancestor {
        jti: claims.jti.clone(),
        iat: claims.iat,
        client_id: claims.client_id.clone(),
        creation: claims.lanyard_creation.clone(),
        x5t: token.bound_to?.to_string(),
    });
    Some(ancestry)
}
