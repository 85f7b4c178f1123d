//! The decision on a request for a transaction token (draft-ietf-oauth-transaction-tokens section 11): by the receipt of what was
//! presented to the client, for whom the client names, or in place of another one that says more. It is a pure function of its request.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::decision::exchange::descended;
use crate::authority::decision::exchange::is_for;
use crate::authority::decision::exchange_client::authenticated;
use crate::authority::decision::exchange_client::consented;
use crate::authority::decision::exchange_client::lets_act;
use crate::authority::decision::exchange_client::terms_of;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::foreign::NOWHERE;
use crate::authority::decision::foreign::brought;
use crate::authority::decision::self_signed::self_signed;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::decision::txn_context;
use crate::authority::decision::txn_request::TxnRequest;
use crate::authority::decision::txn_request::TxnSubject;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::registration::ClientId;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::TxnRule;
use crate::authority::registration::TxnSubjects;
use crate::authority::registration::TxnTokenPolicy;
use crate::authority::registration::translated;
use crate::authority::scope::Scope;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Ancestry;
use crate::authority::tokens::SelfSignedClaims;
use crate::authority::tokens::VerifiedTxnToken;

/// What a request for a transaction token is decided by.
#[derive(Debug)]
pub struct TxnAsked<'a> {
    /// As for any exchange.
    pub exchanging: Exchanging<'a>,
    /// The request.
    pub request: &'a TxnRequest,
    /// The transaction token that is to be replaced, if that is asked for and it still counts.
    pub replaced: Result<Option<&'a VerifiedTxnToken>, ExchangeError>,
    /// The self-signed JWT, if that is the subject and its signature verified.
    pub self_signed: Result<Option<&'a SelfSignedClaims>, ExchangeError>,
    /// What the configuration says.
    pub policy: &'a TxnTokenPolicy,
}

/// A transaction token that may be issued.
#[derive(Clone, Debug)]
pub struct TxnGrant {
    /// The client, which asked for it.
    pub client_id: ClientId,
    /// Its registration.
    pub client: Arc<RegisteredClient>,
    /// Whom it is for.
    pub subject: String,
    /// What it is for.
    pub scope: Scope,
    /// `tctx`.
    pub details: Map<String, Value>,
    /// `rctx`.
    pub context: Map<String, Value>,
    /// Who acts for the subject, as what was presented said.
    pub actors: Option<Actors>,
    /// What it comes from. Empty: the client itself.
    pub ancestry: Ancestry,
    /// The identifier of the transaction, where there is one already.
    pub txn: Option<String>,
    /// Who asked for the tokens that this one replaces.
    pub call_chain: Vec<String>,
    /// The time of its issue: with a receipt that of the presentation.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
}

/// Decides on a request for a transaction token. The order of the conditions is fixed, and the first that does not hold is the
/// reason.
pub fn txn(asked: &TxnAsked<'_>) -> Result<TxnGrant, ExchangeError> {
    txn_by_steps(asked, &mut Unexplained)
}

/// The steps by which [`txn`] comes to its decision.
pub fn explain_txn(asked: &TxnAsked<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    match txn_by_steps(asked, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn txn_by_steps(asked: &TxnAsked<'_>, walk: &mut impl Walk) -> Result<TxnGrant, ExchangeError> {
    let TxnAsked { exchanging, request, policy, .. } = asked;
    let Exchanging { snapshot, credentials, now, .. } = exchanging;
    let named = request.exchange.client_id.as_deref();
    let (client_id, client) = authenticated(snapshot, *credentials, named, *now, walk)?;
    let terms = terms_of(&client, walk)?;
    walk.at(Check::Request, || compared(request.exchange.audience.join(" "), &policy.trust_domain));
    match request.exchange.audience.as_slice() {
        [] => {
            return Err(ExchangeError::RequestMalformed(
                "the target is missing: name the trust domain as the audience",
            ));
        }
        [target] if *target == policy.trust_domain => {}
        [_] => return Err(ExchangeError::NotTheTrustDomain),
        [_, _, ..] => return Err(ExchangeError::SeveralTargets),
    }
    if exchanging.actor_token.is_some() {
        return Err(ExchangeError::RequestMalformed("an actor token does not go with a transaction token"));
    }
    let scope = Scope::parse(&request.exchange.scope).map_err(|_| ExchangeError::InvalidScope)?;
    if scope.is_empty() {
        return Err(ExchangeError::RequestMalformed(
            "the scope is missing, without which a transaction is for nothing",
        ));
    }
    let faulty = [&request.details, &request.context];
    if let Some(sentence) = faulty.into_iter().find_map(|object| txn_context::fault(object, policy.max_context)) {
        return Err(ExchangeError::ContextRefused(sentence));
    }
    let who = (client_id, Arc::clone(&client));
    match &request.subject {
        TxnSubject::Presented if exchanging.foreign.is_some() => foreign(asked, who, terms, &scope, walk),
        TxnSubject::Presented => presented(asked, who, terms, &scope, walk),
        TxnSubject::Stated(json) => {
            let subject = json.get("sub").and_then(Value::as_str);
            let problem = "the subject has no sub, or one that is no text";
            let subject = subject.ok_or(ExchangeError::RequestMalformed(problem))?;
            stated(asked, who, terms, (subject, &scope), walk)
        }
        TxnSubject::SelfSigned(_) => {
            let claims = self_signed((asked.self_signed, exchanging.issuer), &who.0, *now, walk)?;
            let grant = stated(asked, who, terms, (claims.sub.as_str(), &scope), walk)?;
            let expires = grant.expires.min(claims.exp);
            lives(TxnGrant { expires, ..grant }, *now, walk)
        }
        TxnSubject::Replaced(_) => replaced(asked, who, &scope, walk),
    }
}

/// By the receipt of a presentation, for who presented a token.
fn presented(
    asked: &TxnAsked<'_>,
    (client_id, client): (ClientId, Arc<RegisteredClient>),
    terms: &ExchangeTerms,
    scope: &Scope,
    walk: &mut impl Walk,
) -> Result<TxnGrant, ExchangeError> {
    let exchanging = &asked.exchanging;
    walk.at(Check::Subject, || {
        let found = match exchanging.subject {
            Ok(subject) => format!("{} of {}", subject.token.claims.jti, subject.token.claims.client_id),
            Err(why) => why.to_string(),
        };
        (found, "a receipt of this server".to_owned())
    });
    let subject = exchanging.subject?;
    // A token alone proves nothing of who presented it.
    let receipt = subject.presented().ok_or(ExchangeError::ReceiptMissing)?;
    let claims = &subject.token.claims;
    let speaks_for = ClientId::parse(&claims.sub).ok_or(ExchangeError::SubjectInvalid(DenyReason::TokenMalformed))?;
    let judged = (exchanging.judge)(&subject.token, &receipt.at);
    walk.at(Check::Subject, || {
        let found = judged.as_ref().map_or_else(ToString::to_string, |scope| format!("allowed, with {scope}"));
        (found, format!("still allowed at {}", receipt.at))
    });
    let had = judged.map_err(ExchangeError::SubjectDenied)?;
    walk.at(Check::Presentation, || compared(&client_id, "a client that the receipt is for"));
    if !is_for(exchanging.snapshot, receipt, &client_id) {
        return Err(ExchangeError::NotForClient);
    }
    let rule = terms.txn_rule(&speaks_for, &receipt.at);
    walk.at(Check::ExchangeRule, || {
        (format!("{speaks_for} at {}", receipt.at), format!("one of {} rules for transaction tokens", terms.txn.len()))
    });
    let rule = rule.ok_or(ExchangeError::NoRule)?;
    let TxnSubjects::Presented { grants, .. } = &rule.subjects else { return Err(ExchangeError::NoRule) };
    walk.at(Check::Presentation, || compared(receipt.grade.name(), EvidenceGrade::Thumbprint.name()));
    if receipt.grade < EvidenceGrade::Thumbprint {
        return Err(ExchangeError::ReceiptTooWeak);
    }
    consented(exchanging.snapshot, (&client_id, &speaks_for), claims, walk)?;
    let scope = within(scope, &translated(grants, &had), walk)?;
    listed(asked.request, rule)?;
    let ancestry = descended(&subject.token).ok_or(ExchangeError::SubjectInvalid(DenyReason::TokenMalformed))?;
    let grant = TxnGrant {
        client_id,
        client,
        subject: claims.sub.clone(),
        scope,
        details: asked.request.details.clone(),
        context: asked.request.context.clone(),
        actors: claims.act.clone(),
        ancestry,
        txn: None,
        call_chain: Vec::new(),
        issued: receipt.iat,
        expires: receipt.iat.after(ttl(rule, asked.policy)).min(claims.exp),
    };
    lives(grant, exchanging.now, walk)
}

/// For whom the token of another issuer speaks.
fn foreign(
    asked: &TxnAsked<'_>,
    (client_id, client): (ClientId, Arc<RegisteredClient>),
    terms: &ExchangeTerms,
    scope: &Scope,
    walk: &mut impl Walk,
) -> Result<TxnGrant, ExchangeError> {
    let now = asked.exchanging.now;
    let token = brought(&asked.exchanging, &client_id, walk)?;
    let rule = terms.txn_rule(&token.subject, NOWHERE);
    walk.at(Check::ExchangeRule, || {
        (token.subject.to_string(), format!("one of {} rules for transaction tokens, by its issuer", terms.txn.len()))
    });
    let rule = rule.ok_or(ExchangeError::NoRule)?;
    let TxnSubjects::Foreign { grants, .. } = &rule.subjects else { return Err(ExchangeError::NoRule) };
    let scope = within(scope, &translated(grants, &token.scope), walk)?;
    listed(asked.request, rule)?;
    let grant = TxnGrant {
        client_id,
        client,
        subject: token.subject.to_string(),
        scope,
        details: asked.request.details.clone(),
        context: asked.request.context.clone(),
        actors: token.actors.clone(),
        ancestry: Ancestry(vec![token.ancestor()]),
        txn: None,
        call_chain: Vec::new(),
        issued: now,
        expires: now.after(ttl(rule, asked.policy)).min(token.expires),
    };
    lives(grant, now, walk)
}

/// For whom the client names: itself, which what authenticated it proves, or another one that a rule lists.
fn stated(
    asked: &TxnAsked<'_>,
    (client_id, client): (ClientId, Arc<RegisteredClient>),
    terms: &ExchangeTerms,
    (subject, scope): (&str, &Scope),
    walk: &mut impl Walk,
) -> Result<TxnGrant, ExchangeError> {
    let Exchanging { credentials, now, .. } = &asked.exchanging;
    walk.at(Check::Subject, || compared(subject, "a client"));
    let named = ClientId::parse(subject).ok_or(ExchangeError::NoRule)?;
    let rule = terms.stated_txn_rule(&client_id, &named);
    walk.at(Check::ExchangeRule, || {
        let found = if named == client_id { "the client itself" } else { subject };
        compared(found, "one of the subjects of a rule for transaction tokens without presented_at")
    });
    let rule = rule.ok_or(ExchangeError::NoRule)?;
    let TxnSubjects::Stated { scope: given, .. } = &rule.subjects else { return Err(ExchangeError::NoRule) };
    if named != client_id {
        lets_act(asked.exchanging.snapshot, (&client_id, &named), false, walk)?;
    }
    let scope = within(scope, given, walk)?;
    listed(asked.request, rule)?;
    let grant = TxnGrant {
        subject: named.to_string(),
        client_id,
        client,
        scope,
        details: asked.request.details.clone(),
        context: asked.request.context.clone(),
        actors: None,
        ancestry: Ancestry::default(),
        txn: None,
        call_chain: Vec::new(),
        issued: *now,
        expires: now.after(ttl(rule, asked.policy)).min(credentials.peer.certificate().not_after()),
    };
    lives(grant, *now, walk)
}

/// In place of another one, with less scope or less time. It takes no rule: whoever has the other one could pass that on.
fn replaced(
    asked: &TxnAsked<'_>,
    (client_id, client): (ClientId, Arc<RegisteredClient>),
    scope: &Scope,
    walk: &mut impl Walk,
) -> Result<TxnGrant, ExchangeError> {
    let now = asked.exchanging.now;
    walk.at(Check::Subject, || {
        let found = match asked.replaced {
            Ok(Some(token)) => format!("{} of {}", token.claims.txn, token.claims.sub),
            Ok(None) => String::new(),
            Err(why) => why.to_string(),
        };
        (found, "a transaction token of this server that still counts".to_owned())
    });
    let token = asked.replaced?.ok_or(ExchangeError::RequestMalformed("what is to be exchanged is missing"))?;
    let claims = &token.claims;
    walk.at(Check::ExchangeRule, || {
        let replacements = claims.lanyard_call_chain.len();
        (format!("replaced {replacements} times"), format!("at most {}", asked.policy.max_replacements))
    });
    if claims.lanyard_call_chain.len() >= asked.policy.max_replacements {
        return Err(ExchangeError::ReplacedTooOften);
    }
    let scope = within(scope, &token.scope, walk)?;
    let said = |asked: &Map<String, Value>, had: &Map<String, Value>| {
        asked.iter().all(|(name, value)| had.get(name) == Some(value))
    };
    if !said(&asked.request.details, &claims.tctx) || !said(&asked.request.context, &claims.rctx) {
        let sentence =
            "a replacement adds nothing to the context and details of a transaction, and changes nothing of them";
        return Err(ExchangeError::ContextRefused(sentence));
    }
    let grant = TxnGrant {
        client_id,
        client,
        subject: claims.sub.clone(),
        scope,
        details: claims.tctx.clone(),
        context: claims.rctx.clone(),
        actors: claims.act.clone(),
        ancestry: claims.lanyard_from.clone(),
        txn: Some(claims.txn.clone()),
        call_chain: claims.lanyard_call_chain.iter().chain([&claims.req_wl]).cloned().collect(),
        issued: now,
        expires: now.after(asked.policy.ttl).min(claims.exp),
    };
    lives(grant, now, walk)
}

fn ttl(rule: &TxnRule, policy: &TxnTokenPolicy) -> Duration {
    rule.ttl.unwrap_or(policy.ttl).min(policy.max_ttl)
}

/// The scopes that are asked for, in the order of those that are given, so that the same scopes are the same token.
fn within(asked: &Scope, given: &Scope, walk: &mut impl Walk) -> Result<Scope, ExchangeError> {
    walk.at(Check::Scope, || compared(asked, given));
    if given.covers(asked) {
        Ok(given.restricted(|scope| asked.contains(scope)))
    } else {
        Err(ExchangeError::InvalidScope)
    }
}

/// Checks that the rule lists each member that is asked for: a member that was dropped would be thought to be there.
fn listed(request: &TxnRequest, rule: &TxnRule) -> Result<(), ExchangeError> {
    let all = |object: &Map<String, Value>, names: &[String]| object.keys().all(|name| names.contains(name));
    if all(&request.details, &rule.details) && all(&request.context, &rule.context) {
        Ok(())
    } else {
        Err(ExchangeError::ContextRefused(
            "request_details or request_context has a member that no rule of the client lists",
        ))
    }
}

/// Checks that there is time left.
fn lives(grant: TxnGrant, now: Timestamp, walk: &mut impl Walk) -> Result<TxnGrant, ExchangeError> {
    walk.at(Check::Expiry, || (format!("exp {}", grant.expires.0), format!("after {}", now.0)));
    if grant.expires > now { Ok(grant) } else { Err(ExchangeError::LifetimeOver) }
}
