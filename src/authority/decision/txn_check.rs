//! What a check decides about the transaction token of a request (draft-ietf-oauth-transaction-tokens section 12): whether it
//! counts, and what is in one that the check mints. It is no proof of who calls: the access token and its
//! certificate are judged before.

use std::net::IpAddr;

use serde_json::Map;
use serde_json::Value;

use crate::authority::decision::check::CheckRefusal;
use crate::authority::decision::check::CheckRequest;
use crate::authority::decision::txn_context;
use crate::authority::decision::txn_header::PresentedTxn;
use crate::authority::deny_reason::DenyReason;
use crate::authority::registration::TxnTokenPolicy;
use crate::authority::resources::MintedTxn;
use crate::authority::resources::RequestPath;
use crate::authority::resources::Route;
use crate::authority::resources::RouteTxn;
use crate::authority::resources::TxnUse;
use crate::authority::tokens::VerifiedTxnToken;

/// The longest method in a transaction token, in bytes.
const MAX_METHOD_BYTES: usize = 32;

/// Why a transaction token of this server's does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum TxnFault {
    /// Of another issuer with the same keys.
    Issuer,
    /// For another trust domain.
    TrustDomain,
    /// Its time is over.
    Expired,
    /// What it comes from no longer counts.
    Broken,
}

/// Whether the transaction token that a client sent is kept from the service. `public` is whether the route is for
/// everybody.
pub(in crate::authority) fn strips_txn(at: TxnUse, route: Option<&Route>, public: bool) -> bool {
    let minted = route.is_some_and(|route| route.txn.minted().is_some());
    match at {
        TxnUse::Ignore | TxnUse::Strip | TxnUse::Accept | TxnUse::Require if minted => true,
        TxnUse::Ignore => false,
        TxnUse::Strip => true,
        // Nobody has looked at it, and a service that trusts checks would take it for one that counts. Where a denial is let through
        // nothing changes.
        TxnUse::Accept | TxnUse::Require => public,
    }
}

/// Decides on the transaction token of a request that is allowed otherwise. `Ok(None)`: there is none, and none is needed.
pub(in crate::authority) fn txn_at_check<T: AsRef<VerifiedTxnToken>>(
    at: TxnUse,
    route: &RouteTxn,
    presented: PresentedTxn<'_>,
    verified: impl FnOnce(&str) -> Result<T, CheckRefusal>,
) -> Result<Option<T>, CheckRefusal> {
    let needed = if let RouteTxn::Needed(scope) = route { Some(scope) } else { None };
    if !at.verifies() {
        return Ok(None);
    }
    let token = match presented {
        PresentedTxn::Nothing if at == TxnUse::Require || needed.is_some() => {
            return Err(CheckRefusal::TxnTokenMissing);
        }
        PresentedTxn::Nothing => return Ok(None),
        PresentedTxn::Malformed => return Err(CheckRefusal::TxnTokenMalformed),
        PresentedTxn::One(token) => verified(token)?,
    };
    if needed.is_some_and(|needed| !token.as_ref().scope.covers(needed)) {
        return Err(CheckRefusal::TxnScopeMissing);
    }
    Ok(Some(token))
}

impl From<TxnFault> for CheckRefusal {
    fn from(fault: TxnFault) -> Self {
        match fault {
            TxnFault::Issuer | TxnFault::TrustDomain => Self::TxnTokenForeign,
            TxnFault::Expired => Self::TxnTokenExpired,
            TxnFault::Broken => Self::TxnTokenRevoked,
        }
    }
}

impl From<TxnFault> for DenyReason {
    fn from(fault: TxnFault) -> Self {
        match fault {
            TxnFault::Issuer => Self::WrongIssuer,
            TxnFault::TrustDomain => Self::WrongAudience,
            TxnFault::Expired => Self::TokenExpired,
            TxnFault::Broken => Self::DelegationBroken,
        }
    }
}

/// A JSON object.
type Object = Map<String, Value>;

/// `tctx` and `rctx` of the transaction token that the check of a request mints.
pub(in crate::authority) fn minted_context(
    minted: &MintedTxn,
    route: &Route,
    request: &CheckRequest<'_>,
    policy: &TxnTokenPolicy,
) -> Result<(Object, Object), CheckRefusal> {
    let path = RequestPath::parse(request.path).map_err(|_| CheckRefusal::PathNotCanonical)?;
    let details = minted.details(&path).ok_or(CheckRefusal::TxnContextRefused)?;
    if request.method.len() > MAX_METHOD_BYTES {
        return Err(CheckRefusal::TxnContextRefused);
    }
    let mut context = Map::new();
    context.insert("method".to_owned(), request.method.into());
    // The template is the operator's.
    if [&details, &context].into_iter().any(|object| txn_context::fault(object, policy.max_context).is_some()) {
        return Err(CheckRefusal::TxnContextRefused);
    }
    context.insert("route".to_owned(), route.template.as_str().into());
    if minted.tells_address {
        // In its one plain form; what is no address is the proxy's fault.
        let address = request.address.parse::<IpAddr>().map_err(|_| CheckRefusal::TxnTokenNotMinted)?;
        context.insert("req_ip".to_owned(), address.to_canonical().to_string().into());
    }
    Ok((details, context))
}

/// What a route needs of the transaction token of a request, for people; `None` where nothing.
pub(in crate::authority) fn needed_txn(at: TxnUse, route: &RouteTxn) -> Option<String> {
    match (at, route) {
        (_, RouteTxn::Minted(minted)) => Some(format!("one that the check mints, with {}", minted.scope)),
        (TxnUse::Ignore | TxnUse::Strip, _) => None,
        (TxnUse::Accept | TxnUse::Require, RouteTxn::Needed(scope)) => Some(format!("one with {scope}")),
        (TxnUse::Accept, RouteTxn::AsResource) => Some("none, or one that counts".to_owned()),
        (TxnUse::Require, RouteTxn::AsResource) => Some("one that counts".to_owned()),
    }
}
