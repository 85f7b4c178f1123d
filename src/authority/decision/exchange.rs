//! The decision on a token exchange (RFC 8693): whether the client that is authenticated may act for somebody else whose token was
//! presented to it. It is a pure function of its request.

use crate::authority::decision::exchange_client::authenticated;
use crate::authority::decision::exchange_client::consented;
use crate::authority::decision::exchange_client::terms_of;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_parts::accepted;
use crate::authority::decision::exchange_parts::acting;
use crate::authority::decision::exchange_parts::own_actor;
use crate::authority::decision::exchange_parts::translated;
use crate::authority::decision::exchange_request::Exchange;
use crate::authority::decision::exchange_request::ExchangeSubject;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::foreign;
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
use crate::authority::state::Snapshot;
use crate::authority::tokens::Ancestor;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::VerifiedToken;

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
    if exchanging.foreign.is_some() {
        return foreign::exchanged(exchanging, (&client_id, &client), (terms, target), walk);
    }
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
    // A name that looks like another issuer's is not one of it.
    if rule.foreign.is_some() && !claims.lanyard_from.is_of_another_issuer() {
        return Err(ExchangeError::NoRule);
    }
    let reported = lacks_receipt(subject, rule, walk)?;
    consented(snapshot, (&client_id, &speaks_for), claims, walk)?;
    let actors = acting((&client_id, &speaks_for), claims.act.as_ref(), rule.max_actors, walk)?;
    accepted(snapshot, (&client_id, &speaks_for), (target, &actors), walk)?;
    let scope = translated(snapshot, (&request.scope, target), &presented, &rule.grants, walk)?;
    let issued = subject.presented().map_or(*now, |receipt| receipt.iat);
    let expires = issued.after(rule.ttl).min(claims.exp).min(credentials.peer.certificate().not_after());
    walk.at(Check::Expiry, || (format!("exp {}", expires.0), format!("after {}", now.0)));
    if expires <= *now {
        return Err(ExchangeError::LifetimeOver);
    }
    let ancestry = descended(&subject.token).ok_or(ExchangeError::SubjectInvalid(DenyReason::TokenMalformed))?;
    let (subject, actors, audience) = (claims.sub.clone(), Some(actors), target.clone());
    Ok(Exchange { client_id, client, subject, actors, ancestry, audience, scope, issued, expires, reported })
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

/// What a token comes from that is issued for this one.
pub(in crate::authority) fn descended(token: &VerifiedToken) -> Option<Ancestry> {
    let claims = &token.claims;
    let mut ancestry = claims.lanyard_from.clone();
    ancestry.0.push(Ancestor {
        jti: claims.jti.clone(),
        iat: claims.iat,
        client_id: claims.client_id.clone(),
        creation: claims.lanyard_creation.clone(),
        x5t: token.bound_to?.to_string(),
        iss: None,
    });
    Some(ancestry)
}
