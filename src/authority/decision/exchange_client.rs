//! The client of an exchange: who it is, what it may exchange, and whether it may speak for a subject.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::decision::exchange_error::ExchangeError;
use crate::authority::decision::grant::Credentials;
use crate::authority::decision::grant::authenticate_by_steps;
use crate::authority::decision::grant_error::GrantError;
use crate::authority::decision::steps::Check;
use crate::authority::decision::steps::Walk;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::RegisteredClient;
use crate::authority::state::Snapshot;
use crate::authority::tokens::AccessTokenClaims;

/// The client of the request, as at any other token request. The new token is always bound, so the certificate is the client's.
pub(super) fn authenticated(
    snapshot: &Snapshot,
    credentials: Credentials<'_>,
    client_id: Option<&str>,
    now: Timestamp,
    walk: &mut impl Walk,
) -> Result<(ClientId, Arc<RegisteredClient>), ExchangeError> {
    walk.at(Check::ClientId, || {
        (client_id.unwrap_or_default().to_owned(), "a client_id, or an SVID that names the client".to_owned())
    });
    let credentials = Credentials { unbound_tokens: false, ..credentials };
    let client_id = credentials.name(client_id)?.ok_or(GrantError::InvalidRequest)?;
    let client = authenticate_by_steps(snapshot, credentials, &client_id, now, walk).map_err(GrantError::from)?;
    Ok((client_id, client))
}

/// What the client's registration says of exchange, if it is registered for the grant.
pub(super) fn terms_of<'a>(
    client: &'a RegisteredClient,
    walk: &mut impl Walk,
) -> Result<&'a ExchangeTerms, ExchangeError> {
    walk.at(Check::GrantType, || {
        let registered = client.registration.metadata().grant_types.join(" ");
        (registered, "token exchange, registered by an operator".to_owned())
    });
    // Whoever registers itself may not let itself speak for others.
    let terms = client.registration.terms.exchange.as_deref().filter(|_| client.record.dynamic.is_none());
    terms.filter(|terms| terms.granted).ok_or(ExchangeError::UnauthorizedClient)
}

/// Checks that the subject lets the client speak for it: by its registration, and by what its token says.
pub(super) fn consented(
    snapshot: &Snapshot,
    (client_id, speaks_for): (&ClientId, &ClientId),
    claims: &AccessTokenClaims,
    walk: &mut impl Walk,
) -> Result<(), ExchangeError> {
    let elsewhere = claims.lanyard_from.is_of_another_issuer();
    lets_act(snapshot, (client_id, speaks_for), elsewhere, walk)?;
    if !claims.may_act.as_ref().is_none_or(|may_act| may_act.names(client_id, &claims.iss)) {
        return Err(ExchangeError::NotMayAct);
    }
    Ok(())
}

/// Checks that the subject's registration lets the client speak for it. A subject that another issuer speaks for needs none.
pub(super) fn lets_act(
    snapshot: &Snapshot,
    (client_id, speaks_for): (&ClientId, &ClientId),
    elsewhere: bool,
    walk: &mut impl Walk,
) -> Result<(), ExchangeError> {
    let directory = &snapshot.directory;
    let status = directory.status(speaks_for);
    let unknown = elsewhere && matches!(status, ClientStatus::Unknown);
    let registered = match status {
        ClientStatus::Registered(client) => Some(client),
        ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
    };
    // The operator's registration counts beside one that a workload made for itself.
    let limit = registered.as_ref().and_then(|client| directory.limit_of(client));
    let lets_act = |client: &Arc<RegisteredClient>| {
        client.registration.terms.exchange.as_ref().is_none_or(|terms| terms.lets_act(client_id))
    };
    let vetoed = registered.is_none() && !unknown || !registered.iter().chain(&limit).all(lets_act);
    walk.at(Check::Delegation, || {
        let found = if vetoed { "does not let it" } else { "lets it" };
        (format!("{speaks_for} {found}"), format!("that {client_id} may act for it"))
    });
    if vetoed { Err(ExchangeError::Vetoed) } else { Ok(()) }
}
