//! The decision on an exchange of a token of another issuer, such as a user's at a gateway: whether the client may bring in what it
//! says. The client that authenticates is the actor, as in every exchange.

use std::sync::Arc;

use crate::authority::decision::exchange_client::lets_act;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_parts::accepted;
use crate::authority::decision::exchange_parts::acting;
use crate::authority::decision::exchange_parts::translated;
use crate::authority::decision::exchange_request::Exchange;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Walk;
use crate::authority::registration::ClientId;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::RegisteredClient;
use crate::authority::tokens::Ancestry;
use crate::authority::trust::ForeignToken;

/// Where a token of another issuer was presented: at no resource of this server.
pub(super) const NOWHERE: &str = "";

/// Decides on an exchange for an access token.
pub(super) fn exchanged(
    exchanging: &Exchanging<'_>,
    (client_id, client): (&ClientId, &Arc<RegisteredClient>),
    (terms, target): (&ExchangeTerms, &str),
    walk: &mut impl Walk,
) -> Result<Exchange, ExchangeError> {
    let Exchanging { snapshot, credentials, request, now, .. } = exchanging;
    let token = brought(exchanging, client_id, walk)?;
    let speaks_for = &token.subject;
    walk.at(Check::ExchangeRule, || {
        let found = format!("{speaks_for}, for {target}");
        (found, format!("the one of {} rules that is about it by its issuer", terms.rules.len()))
    });
    if !terms.is_about(speaks_for, NOWHERE) {
        return Err(ExchangeError::NoRule);
    }
    let rule = terms.rule(speaks_for, NOWHERE, target).ok_or(ExchangeError::TargetNotInRules)?;
    let actors = acting((client_id, speaks_for), token.actors.as_ref(), rule.max_actors, walk)?;
    accepted(snapshot, (client_id, speaks_for), (target, &actors), walk)?;
    let scope = translated(snapshot, (&request.scope, target), &token.scope, &rule.grants, walk)?;
    let expires = now.after(rule.ttl).min(token.expires).min(credentials.peer.certificate().not_after());
    walk.at(Check::Expiry, || (format!("exp {}", expires.0), format!("after {}", now.0)));
    if expires <= *now {
        return Err(ExchangeError::LifetimeOver);
    }
    Ok(Exchange {
        client_id: client_id.clone(),
        client: Arc::clone(client),
        subject: speaks_for.to_string(),
        actors: Some(actors),
        ancestry: Ancestry(vec![token.ancestor()]),
        audience: target.to_owned(),
        scope,
        issued: *now,
        expires,
        reported: false,
    })
}

/// The token of another issuer that a client brings, if it is good, the client proves the certificate that it is bound to, and it lets
/// the client act.
pub(super) fn brought<'a>(
    exchanging: &Exchanging<'a>,
    client_id: &ClientId,
    walk: &mut impl Walk,
) -> Result<&'a ForeignToken, ExchangeError> {
    let Exchanging { snapshot, credentials, issuer, .. } = exchanging;
    let found =
        exchanging.foreign.unwrap_or(Err(ExchangeError::RequestMalformed("what is to be exchanged is missing")));
    walk.at(Check::Subject, || {
        let found = match found {
            Ok(token) => format!("{} of {}", token.jti, token.subject),
            Err(why) => why.to_string(),
        };
        (found, "a token of an issuer whose tokens are exchanged, not revoked here".to_owned())
    });
    let token = found?;
    let shown = credentials.peer.thumbprint();
    walk.at(Check::BoundCertificate, || {
        let bound = token.bound_to.map_or_else(|| "none".to_owned(), |bound| format!("x5t#S256:{bound}"));
        (bound, format!("none, or that of this connection, x5t#S256:{shown}"))
    });
    // A bound token that nobody proves is somebody else's.
    if token.bound_to.is_some_and(|bound| bound != shown) {
        return Err(ExchangeError::SubjectBoundElsewhere);
    }
    lets_act(snapshot, (client_id, &token.subject), true, walk)?;
    if !token.may_act.as_ref().is_none_or(|may_act| may_act.names_here(client_id, issuer)) {
        return Err(ExchangeError::NotMayAct);
    }
    Ok(token)
}
