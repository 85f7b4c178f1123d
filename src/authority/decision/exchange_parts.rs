//! What all exchanges ask, whatever is exchanged: of the actors, of the target, and of the scopes.

use std::iter;

use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::exchange_request::Exchanging;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Walk;
use crate::authority::decision::steps::compared;
use crate::authority::registration;
use crate::authority::registration::ClientId;
use crate::authority::registration::ScopeGrant;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Snapshot;
use crate::authority::tokens::Actors;

/// An actor token adds nothing: the client is the actor. Some libraries always send one.
pub(super) fn own_actor(exchanging: &Exchanging<'_>, client_id: &ClientId) -> Result<(), ExchangeError> {
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

/// The actors of the new token, if the client may be one more.
pub(super) fn acting(
    (client_id, speaks_for): (&ClientId, &ClientId),
    earlier: Option<&Actors>,
    most: usize,
    walk: &mut impl Walk,
) -> Result<Actors, ExchangeError> {
    let acted: Vec<_> = earlier.into_iter().flat_map(Actors::all).collect();
    walk.at(Check::Delegation, || {
        let expected = format!("at most {most} actors, and nobody twice");
        (iter::once(client_id.as_str().into()).chain(acted.iter().cloned()).collect::<Vec<_>>().join(" "), expected)
    });
    if client_id == speaks_for {
        return Err(ExchangeError::ActorIsSubject);
    }
    if acted.iter().any(|actor| actor == client_id.as_str()) {
        return Err(ExchangeError::ActorInChain);
    }
    if acted.len() >= most {
        return Err(ExchangeError::TooManyActors);
    }
    Ok(Actors::then(earlier.cloned(), client_id))
}

/// Checks that the target takes the new token.
pub(super) fn accepted(
    snapshot: &Snapshot,
    (client_id, speaks_for): (&ClientId, &ClientId),
    (target, actors): (&str, &Actors),
    walk: &mut impl Walk,
) -> Result<(), ExchangeError> {
    let resources = &snapshot.resources;
    walk.at(Check::ResourceRecord, || compared(target, "registered, and readable"));
    let registered = resources.named(target).filter(|resource| !resource.registration.suspended);
    let resource = &registered.ok_or(ExchangeError::TargetUnknown)?.registration;
    let demands = Demands::of(target, Some(resource), Scope::default());
    let count = actors.count();
    walk.at(Check::Delegation, || {
        let takes = demands.delegated.as_ref().map_or_else(|| "no delegated token".to_owned(), |one| one.expectation());
        (format!("{client_id} for {speaks_for}, {count} actors"), takes)
    });
    let takes = demands.delegated.as_ref().is_some_and(|delegated| delegated.accepts(Some(client_id), count));
    let accepts = |id: &ClientId| demands.accept(id.spiffe_id().as_ref());
    if takes && accepts(client_id) && accepts(speaks_for) { Ok(()) } else { Err(ExchangeError::TargetNotAccepting) }
}

/// The scopes of the new token: what is given for what was presented, as far as it is asked for and the target defines it.
pub(super) fn translated(
    snapshot: &Snapshot,
    (asked, target): (&str, &str),
    presented: &Scope,
    grants: &[ScopeGrant],
    walk: &mut impl Walk,
) -> Result<Scope, ExchangeError> {
    let defined = snapshot.resources.defined_by(iter::once(target));
    let given = registration::translated(grants, presented).restricted(|scope| defined.counts(scope));
    given_of(&given, (asked, presented), walk)
}

/// The scopes that are asked for of those that are given.
pub(super) fn given_of(
    given: &Scope,
    (asked, presented): (&str, &Scope),
    walk: &mut impl Walk,
) -> Result<Scope, ExchangeError> {
    walk.at(Check::Scope, || (asked.to_owned(), format!("{given}, for {presented}")));
    let asked = Scope::parse(asked).map_err(|_| ExchangeError::InvalidScope)?;
    if given.is_empty() || !given.covers(&asked) {
        return Err(ExchangeError::InvalidScope);
    }
    // In the order of the rule, so that the same scopes are the same token.
    Ok(if asked.is_empty() { given.clone() } else { given.restricted(|scope| asked.contains(scope)) })
}
