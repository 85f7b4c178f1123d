//! The request and the result of an `ext_authz` check, and the parsing of the request's headers.

use std::sync::Arc;

use crate::authority::decision::binding::Verdict;
use crate::authority::decision::steps::Step;
use crate::authority::decision::txn_header::AssertedTxn;
use crate::authority::decision::txn_header::TXN_TOKEN_HEADER;
use crate::authority::decision::txn_header::TXN_TOKEN_HEADERS;
use crate::authority::decision::txn_header::is_txn_header;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::reference::Reference;
use crate::authority::resources::Destination;
use crate::authority::resources::Mode;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RequestPath;
use crate::authority::resources::Route;
use crate::authority::scope::Scope;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::ReceiptText;
use crate::authority::tokens::VerifiedToken;

/// The headers in which an allowed request carries the caller's identity to the resource.
pub const IDENTITY_HEADERS: [&str; 8] = [
    "x-lanyard-client-id",
    "x-lanyard-subject",
    ACTOR_HEADER,
    "x-lanyard-scope",
    "x-lanyard-binding",
    RECEIPT_HEADER,
    TXN_HEADER,
    TXN_SUBJECT_HEADER,
];

/// The header that a request with a delegated token has, and no other: the client that acts for the subject.
pub const ACTOR_HEADER: &str = "x-lanyard-actor";

/// The header in which an allowed request carries its receipt.
pub const RECEIPT_HEADER: &str = "x-lanyard-receipt";

/// The headers in which an allowed request carries which transaction it is part of, and whom that is for: there is a transaction token,
/// and this server has verified or minted it.
pub const TXN_HEADER: &str = "x-lanyard-txn";
/// See [`TXN_HEADER`].
pub const TXN_SUBJECT_HEADER: &str = "x-lanyard-txn-subject";

/// The prefix of all headers of this server, including future ones. No such header from a client may reach a resource.
const OUR_HEADERS: &str = "x-lanyard-";

/// Envoy's header of the certificates that it has seen.
pub(in crate::authority) const FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";

/// One request, as a proxy describes it.
#[derive(Debug)]
pub struct CheckRequest<'a> {
    /// The destination of the request.
    pub destination: Destination<'a>,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, with the query.
    pub path: &'a str,
    /// The headers, in no particular order. Several values of one name may be separate or joined by commas.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// `source.certificate`.
    pub certificate: &'a str,
    /// `source.principal`.
    pub principal: &'a str,
    /// `source.address`: the address of the client, as the proxy reports it.
    pub address: &'a str,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(CheckRefusalCode),
    doc = "The codes of [`CheckRefusal`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum CheckRefusal {
    /// The use of its token was denied.
    #[error(transparent)]
    Denied(DenyReason),
    /// The request has no bearer token in its `authorization` header.
    #[error("an access token is needed")]
    TokenMissing,
    /// There is more than one `authorization` header, or one that does not conform to RFC 6750 section 2.1.
    #[error("the authorization header is not one bearer token")]
    AuthorizationMalformed,
    /// The evidence of the certificate cannot be read.
    #[error("{0}")]
    EvidenceMalformed(#[from] InvalidEvidence),
    /// The request is for no resource that the proxy fronts.
    #[error("the request is for no protected resource that this proxy fronts")]
    ResourceUnknown,
    /// None of the resource's routes matches.
    #[error("the resource has no route for this method and path")]
    RouteUnknown,
    /// The path is ambiguous: servers differ in how they normalize it.
    #[error("the path is not in its one plain form")]
    PathNotCanonical,
    /// The request has no transaction token, and needs one.
    #[error("a transaction token is needed")]
    TxnTokenMissing,
    /// There is more than one header with a transaction token, or one that is more or less than a token.
    #[error("the txn-token header is not one transaction token")]
    TxnTokenMalformed,
    /// The transaction token is of another type, or no key of this server's signed it.
    #[error("the transaction token is none of this server")]
    TxnTokenInvalid,
    /// The transaction token is for another trust domain.
    #[error("the transaction token is for another trust domain")]
    TxnTokenForeign,
    /// The transaction token has expired.
    #[error("the transaction token has expired")]
    TxnTokenExpired,
    /// What the transaction token comes from no longer counts.
    #[error("what the transaction token comes from is revoked")]
    TxnTokenRevoked,
    /// The transaction is for something else than the route needs.
    #[error("the transaction is not for what the route needs")]
    TxnScopeMissing,
    /// The transaction has been seen at the resource.
    #[error("the transaction has been seen here before")]
    TxnTokenSeen,
    /// What the request says cannot be in a transaction token: it is too long, or looks like a secret.
    #[error("the path has something that can be in no transaction token")]
    TxnContextRefused,
    /// The service counts on a transaction token, and none could be minted.
    #[error("no transaction token could be minted")]
    TxnTokenNotMinted,
    /// The check request itself cannot be read.
    #[error("the check cannot be read")]
    RequestMalformed,
    /// The caller is not authorized to ask.
    #[error("the caller may not ask for checks")]
    NotAProxy,
    /// The proxy is at the limit of its share, or the server is overloaded.
    #[error("too many checks are made at the moment")]
    Overloaded,
    /// An internal error occurred.
    #[error("the check could not be made")]
    Unable,
}

impl CheckRefusal {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        if let Self::Denied(reason) = self { reason.code() } else { CheckRefusalCode::from(self).into() }
    }

    /// Whether a check lets it through at a resource: because of the resource's mode, or, where that is the only fault, of the mode
    /// of its `delegated`.
    pub(in crate::authority) fn is_reported(self, resource: &ProtectedResource) -> bool {
        let of_delegated = || resource.delegated.as_ref().is_some_and(|delegated| delegated.reports);
        // What comes after the access token is not looked at then.
        let is_only_fault = self == Self::Denied(DenyReason::ActorNotAccepted) && !resource.needs_txn_tokens();
        resource.mode == Mode::Report || is_only_fault && of_delegated()
    }

    /// Whether it is about the transaction token, so that the access token was allowed.
    pub(in crate::authority) fn is_of_transaction(self) -> bool {
        match self {
            Self::TxnTokenMissing
            | Self::TxnTokenMalformed
            | Self::TxnTokenInvalid
            | Self::TxnTokenForeign
            | Self::TxnTokenExpired
            | Self::TxnTokenRevoked
            | Self::TxnScopeMissing
            | Self::TxnTokenSeen
            | Self::TxnContextRefused
            | Self::TxnTokenNotMinted => true,
            Self::Denied(_)
            | Self::TokenMissing
            | Self::AuthorizationMalformed
            | Self::EvidenceMalformed(_)
            | Self::ResourceUnknown
            | Self::RouteUnknown
            | Self::PathNotCanonical
            | Self::RequestMalformed
            | Self::NotAProxy
            | Self::Overloaded
            | Self::Unable => false,
        }
    }

    /// Detail beyond the code.
    pub(in crate::authority) fn cause(self) -> Option<InvalidEvidence> {
        if let Self::EvidenceMalformed(cause) = self { Some(cause) } else { None }
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub enum CheckAnswer {
    /// The request is allowed.
    Allow(Allowance),
    /// The request is denied.
    Deny(Denial),
}

/// How a request is allowed.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// What is asserted about the caller; nothing on a public route, or where a denial is let through.
    pub asserted: Option<Asserted>,
    /// The headers to remove from the request. None of them is one that is asserted.
    pub remove: Vec<String>,
    /// The denial that is let through, if there is one, and its reference.
    pub let_through: Option<(CheckRefusal, Reference)>,
    /// Whether the response reports that denial.
    pub say_so: bool,
}

/// Who the caller is, and how that is known.
#[derive(Clone, Debug)]
pub struct Asserted {
    /// The resource, by its audience.
    pub audience: String,
    /// The verified token.
    pub token: Arc<VerifiedToken>,
    /// The claims that count at the resource, where these are fewer than the token's.
    pub narrowed: Option<Arc<AccessTokenClaims>>,
    /// How the use of the token was evaluated.
    pub verdict: Verdict,
    /// The receipt of the presentation, if the resource leaves receipts.
    pub receipt: Option<ReceiptText>,
    /// The transaction that the request is part of, if the resource looks at that.
    pub txn: Option<AssertedTxn>,
}

impl Asserted {
    /// The claims that count at the resource.
    pub fn claims(&self) -> &AccessTokenClaims {
        self.narrowed.as_deref().unwrap_or(&self.token.claims)
    }
}

/// How a request is denied.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The reason for the denial.
    pub refusal: CheckRefusal,
    /// Its reference.
    pub reference: Reference,
    /// The resource, by its audience, if it was determined.
    pub audience: Option<String>,
    /// The scopes that the route needs, if the route was determined.
    pub scope: Scope,
}

/// What is known about a request so far.
#[derive(Default)]
pub(in crate::authority) struct Findings<'a> {
    /// The route that the request matches.
    pub(in crate::authority) route: Option<&'a Route>,
    pub(in crate::authority) scope: Scope,
    pub(in crate::authority) token: Option<Arc<VerifiedToken>>,
    pub(in crate::authority) evidence: Option<Evidence>,
    /// The identifier of the transaction, where its token verified or was minted.
    pub(in crate::authority) txn: Option<String>,
    /// The steps of the decision on a denied use of the token.
    pub(in crate::authority) steps: Vec<Step>,
}

/// The route of a resource that a request for this target matches.
pub(in crate::authority) fn route_of<'a>(
    resource: &'a ProtectedResource,
    method: &str,
    target: &str,
) -> Result<&'a Route, CheckRefusal> {
    if resource.suspended {
        return Err(CheckRefusal::Denied(DenyReason::ResourceSuspended));
    }
    let path = RequestPath::parse(target).map_err(|_| CheckRefusal::PathNotCanonical)?;
    resource.routes.find(method, &path).ok_or(CheckRefusal::RouteUnknown)
}

/// Whether a check looks at headers of this name. The others need not be handed to it.
pub fn is_read_in_checks(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
        || name.eq_ignore_ascii_case(FORWARDED_CLIENT_CERT)
        || is_ours(name)
        || is_txn_header(name)
}

/// Whether a header is this server's, in any spelling that servers treat as equivalent: some read `X_Lanyard_Subject` as
/// the same.
fn is_ours(name: &str) -> bool {
    let beginning = name.as_bytes().get(..OUR_HEADERS.len()).unwrap_or_default();
    beginning
        .iter()
        .zip(OUR_HEADERS.bytes())
        .all(|(&byte, our)| byte.eq_ignore_ascii_case(&our) || (byte, our) == (b'_', b'-'))
        && beginning.len() == OUR_HEADERS.len()
}

/// The headers to remove: each of this server's that is not asserted, in any spelling, the token if the resource must not receive it,
/// and what a client sent as a transaction token if that may not reach the service.
pub(in crate::authority) fn removed(
    headers: &[(&str, &[u8])],
    asserted: Option<&Asserted>,
    drops_token: bool,
    strips_txn: bool,
) -> Vec<String> {
    let kept = |name: &str| {
        asserted.is_some_and(|asserted| match name {
            "x-lanyard-scope" => asserted.claims().scope.is_some(),
            ACTOR_HEADER => asserted.claims().act.is_some(),
            RECEIPT_HEADER => asserted.receipt.is_some(),
            TXN_HEADER | TXN_SUBJECT_HEADER => asserted.txn.is_some(),
            TXN_TOKEN_HEADER => asserted.txn.as_ref().is_some_and(|txn| txn.minted.is_some()),
            _ => IDENTITY_HEADERS.contains(&name),
        })
    };
    let sent = headers.iter().map(|(name, _)| *name).filter(|name| is_ours(name));
    let token = drops_token.then_some("authorization");
    // In each spelling, also where the proxy does not say that there is one.
    let txn = TXN_TOKEN_HEADERS.into_iter().filter(|_| strips_txn);
    // This server's headers are listed even where the proxy is configured not to send them here.
    let mut names: Vec<String> = IDENTITY_HEADERS
        .into_iter()
        .chain(sent)
        .chain(txn)
        .filter(|name| !kept(name))
        .chain(token)
        .map(ToOwned::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
