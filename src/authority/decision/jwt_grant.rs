//! The decision on a request for a grant for the authorization server of another trust domain
//! (draft-ietf-oauth-identity-chaining section 2.3): by the receipt of what was presented to the client, or for the client itself. It
//! is a pure function of its request.

use std::fmt;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::decision::exchange::is_for;
use crate::authority::decision::exchange_client::authenticated;
use crate::authority::decision::exchange_client::consented;
use crate::authority::decision::exchange_client::terms_of;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_parts::acting;
use crate::authority::decision::exchange_parts::given_of;
use crate::authority::decision::exchange_parts::own_actor;
use crate::authority::decision::exchange_request::ExchangeRequest;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Step;
use crate::authority::decision::steps::Steps;
use crate::authority::decision::steps::Unexplained;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::registration::ChainingTarget;
use crate::authority::registration::ClientId;
use crate::authority::registration::MAX_ACTORS;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::ToldActors;
use crate::authority::registration::translated;
use crate::authority::scope::Scope;
use crate::authority::tokens::Actors;

/// A request for a grant for another authorization server.
#[derive(Clone, Default)]
pub struct JwtGrantRequest {
    /// The client, the receipt of what was presented, the issuer of the other authorization server as the audience, and the
    /// scope, in its words.
    pub exchange: ExchangeRequest,
    /// In place of a receipt, for the client itself: an object with its `client_id` as `sub`. Nothing else of it counts.
    pub itself: Option<Map<String, Value>>,
}

/// What was presented is never logged.
impl fmt::Debug for JwtGrantRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JwtGrantRequest").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// What a request for a grant is decided by.
#[derive(Debug)]
pub struct JwtGrantAsked<'a> {
    /// As for any exchange.
    pub exchanging: Exchanging<'a>,
    /// The request.
    pub request: &'a JwtGrantRequest,
    /// The other authorization servers of the configuration.
    pub targets: &'a [ChainingTarget],
}

/// A grant that may be made.
#[derive(Clone, Debug)]
pub struct JwtGrant {
    /// The client, which may use it.
    pub client_id: ClientId,
    /// Its registration.
    pub client: Arc<RegisteredClient>,
    /// Whom it speaks for.
    pub subject: String,
    /// Who acts, as far as it is told.
    pub actors: Option<Actors>,
    /// The other authorization server.
    pub audience: String,
    /// The `typ` that it has.
    pub typ: String,
    /// Its scopes.
    pub scope: Scope,
    /// The time of its issue: with a receipt that of the presentation, so that the same receipt makes the same grant.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
}

/// Who a grant is for, with what, and for how long at most.
struct For {
    name: ClientId,
    presented: Scope,
    actors: Option<Actors>,
    issued: Timestamp,
    ends: Timestamp,
}

/// Decides on a request for a grant. The order of the conditions is fixed, and the first that does not hold is the reason.
pub fn jwt_grant(asked: &JwtGrantAsked<'_>) -> Result<JwtGrant, ExchangeError> {
    by_steps(asked, &mut Unexplained)
}

/// The steps by which [`jwt_grant`] comes to its decision.
pub fn explain_jwt_grant(asked: &JwtGrantAsked<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    match by_steps(asked, &mut steps) {
        Ok(_) => steps.allowed(),
        Err(_) => steps.refused(),
    }
}

fn by_steps(asked: &JwtGrantAsked<'_>, walk: &mut impl Walk) -> Result<JwtGrant, ExchangeError> {
    let JwtGrantAsked { exchanging, request, targets } = asked;
    let Exchanging { snapshot, credentials, now, .. } = exchanging;
    let named = request.exchange.client_id.as_deref();
    let (client_id, client) = authenticated(snapshot, *credentials, named, *now, walk)?;
    terms_of(&client, walk)?;
    walk.at(Check::Request, || (request.exchange.audience.join(" "), "one authorization server".to_owned()));
    let audience = match request.exchange.audience.as_slice() {
        [] => return Err(ExchangeError::RequestMalformed("the target is missing: name its issuer as the audience")),
        [audience] => audience,
        [_, _, ..] => return Err(ExchangeError::SeveralTargets),
    };
    own_actor(exchanging, &client_id)?;
    let target = targets.iter().find(|target| target.issuer == *audience && target.is_for_client(&client_id));
    walk.at(Check::ExchangeRule, || {
        (format!("{client_id}, for {audience}"), format!("one of {} entries of chaining.to", targets.len()))
    });
    let target = target.ok_or(ExchangeError::TargetNotInRules)?;
    let found = match &request.itself {
        Some(json) => itself(exchanging, (&client_id, &client), json, walk)?,
        None => presented(exchanging, &client_id, target, walk)?,
    };
    walk.at(Check::ExchangeRule, || compared(&found.name, "one of the subjects of the entry"));
    if !target.is_for_subject(&found.name) {
        return Err(ExchangeError::NoRule);
    }
    let given = translated(&target.grants, &found.presented);
    let scope = given_of(&given, (&request.exchange.scope, &found.presented), walk)?;
    let not_after = credentials.peer.certificate().not_after();
    let expires = found.issued.after(target.ttl).min(found.ends).min(not_after);
    walk.at(Check::Expiry, || (format!("exp {}", expires.0), format!("after {}", now.0)));
    if expires <= *now {
        return Err(ExchangeError::LifetimeOver);
    }
    let actors = found.actors.and_then(|actors| match target.told {
        ToldActors::All => Some(actors),
        ToldActors::Last => Some(Actors::then(None, &client_id)),
        ToldActors::None => None,
    });
    Ok(JwtGrant {
        client_id,
        client,
        subject: found.name.to_string(),
        actors,
        audience: audience.clone(),
        typ: target.typ.clone(),
        scope,
        issued: found.issued,
        expires,
    })
}

/// For the client itself: what authenticated it is the proof, and what it may ask for here is what it presents.
fn itself(
    exchanging: &Exchanging<'_>,
    (client_id, client): (&ClientId, &RegisteredClient),
    json: &Map<String, Value>,
    walk: &mut impl Walk,
) -> Result<For, ExchangeError> {
    let subject = json.get("sub").and_then(Value::as_str);
    let subject = subject.ok_or(ExchangeError::RequestMalformed("the subject has no sub, or one that is no text"))?;
    walk.at(Check::Subject, || compared(subject, client_id));
    if subject != client_id.as_str() {
        return Err(ExchangeError::NoRule);
    }
    Ok(For {
        name: client_id.clone(),
        presented: client.registration.terms.scope.clone(),
        actors: None,
        issued: exchanging.now,
        ends: Timestamp(u64::MAX),
    })
}

/// By the receipt of a presentation, for who presented a token.
fn presented(
    exchanging: &Exchanging<'_>,
    client_id: &ClientId,
    target: &ChainingTarget,
    walk: &mut impl Walk,
) -> Result<For, ExchangeError> {
    walk.at(Check::Subject, || {
        let found = match exchanging.subject {
            Ok(subject) => format!("{} of {}", subject.token.claims.jti, subject.token.claims.client_id),
            Err(why) => why.to_string(),
        };
        (found, "a receipt of this server".to_owned())
    });
    let subject = exchanging.subject?;
    // A stolen token must not cross the border.
    let receipt = subject.presented().ok_or(ExchangeError::ReceiptMissing)?;
    let claims = &subject.token.claims;
    let malformed = ExchangeError::SubjectInvalid(DenyReason::TokenMalformed);
    let speaks_for = ClientId::parse(&claims.sub).ok_or(malformed)?;
    let judged = (exchanging.judge)(&subject.token, &receipt.at);
    walk.at(Check::Subject, || {
        let found = judged.as_ref().map_or_else(ToString::to_string, |scope| format!("allowed, with {scope}"));
        (found, format!("still allowed at {}", receipt.at))
    });
    let presented = judged.map_err(ExchangeError::SubjectDenied)?;
    walk.at(Check::Presentation, || compared(client_id, "a client that the receipt is for"));
    if !is_for(exchanging.snapshot, receipt, client_id) {
        return Err(ExchangeError::NotForClient);
    }
    walk.at(Check::Presentation, || compared(&receipt.at, target.presented_at.join(" ")));
    if !target.presented_at.iter().any(|at| *at == receipt.at) {
        return Err(ExchangeError::NoRule);
    }
    walk.at(Check::Presentation, || compared(receipt.grade.name(), EvidenceGrade::Thumbprint.name()));
    if receipt.grade < EvidenceGrade::Thumbprint {
        return Err(ExchangeError::ReceiptTooWeak);
    }
    consented(exchanging.snapshot, (client_id, &speaks_for), claims, walk)?;
    let most = usize::try_from(MAX_ACTORS).unwrap_or(usize::MAX);
    let actors = acting((client_id, &speaks_for), claims.act.as_ref(), most, walk)?;
    Ok(For { name: speaks_for, presented, actors: Some(actors), issued: receipt.iat, ends: claims.exp })
}
