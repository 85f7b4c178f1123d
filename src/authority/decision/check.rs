//! The request and the result of an `ext_authz` check, and the parsing of the request's headers.

use std::borrow::Cow;
use std::sync::Arc;

use crate::authority::decision::binding::Verdict;
use crate::authority::decision::steps::Step;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::evidence::InvalidForwardedCertificate;
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
pub const IDENTITY_HEADERS: [&str; 6] =
    ["x-lanyard-client-id", "x-lanyard-subject", ACTOR_HEADER, "x-lanyard-scope", "x-lanyard-binding", RECEIPT_HEADER];

/// The header that a request with a delegated token has, and no other: the client that acts for the subject.
pub const ACTOR_HEADER: &str = "x-lanyard-actor";

/// The header in which an allowed request carries its receipt.
pub const RECEIPT_HEADER: &str = "x-lanyard-receipt";

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
        resource.mode == Mode::Report || self == Self::Denied(DenyReason::ActorNotAccepted) && of_delegated()
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

/// All values of the headers with one name.
fn values<'a>(headers: &[(&str, &'a [u8])], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// Joins the lines of a list header into one value (RFC 9110 section 5.3). Nearly always there is one line.
pub(in crate::authority) fn joined<'a>(
    headers: &[(&str, &'a [u8])],
    name: &str,
) -> Result<Cow<'a, str>, InvalidEvidence> {
    let unprintable = InvalidEvidence::Forwarded(InvalidForwardedCertificate::Unprintable);
    let mut lines = values(headers, name);
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    let Some(second) = second else { return str::from_utf8(first).map(Cow::Borrowed).map_err(|_| unprintable) };
    let lines: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
    String::from_utf8(lines.join(&b","[..])).map(Cow::Owned).map_err(|_| unprintable)
}

/// The token in the one `authorization` header (RFC 6750 section 2.1): the scheme in any case, one or more spaces, and
/// a `b64token`. A `b64token` contains no comma, so two headers that a proxy joined are detected. Neither a form nor
/// the query is read (sections 2.2 and 2.3).
pub(in crate::authority) fn bearer_token<'a>(headers: &'a [(&str, &'a [u8])]) -> Result<&'a str, CheckRefusal> {
    let mut lines = values(headers, "authorization");
    let line = lines.next().ok_or(CheckRefusal::TokenMissing)?;
    if lines.next().is_some() {
        return Err(CheckRefusal::AuthorizationMalformed);
    }
    let line = str::from_utf8(line).map_err(|_| CheckRefusal::AuthorizationMalformed)?;
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    if line.contains(',') {
        return Err(CheckRefusal::AuthorizationMalformed);
    }
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(CheckRefusal::TokenMissing);
    }
    let token = rest.trim_start_matches(' ');
    let symbols = token.trim_end_matches('=');
    let well_formed = !symbols.is_empty() && are_symbols(symbols.as_bytes());
    if well_formed { Ok(token) } else { Err(CheckRefusal::AuthorizationMalformed) }
}

/// Whether each byte is one of a `b64token`. They are looked at in pieces of one length, which the compiler does at once.
fn are_symbols(bytes: &[u8]) -> bool {
    let (pieces, rest) = bytes.as_chunks::<32>();
    pieces.iter().all(|piece| piece.map(symbol) == [1; 32]) && rest.iter().all(|byte| symbol(*byte) == 1)
}

/// 1 if a byte is one of a `b64token`, else 0; without branches.
fn symbol(byte: u8) -> u8 {
    let is = |symbol: u8| u8::from(byte == symbol);
    let is_letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
    let is_digit = u8::from(byte.wrapping_sub(b'0') < 10);
    is_letter | is_digit | is(b'-') | is(b'.') | is(b'_') | is(b'~') | is(b'+') | is(b'/')
}

/// Whether a check looks at headers of this name. The others need not be handed to it.
pub fn is_read_in_checks(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case(FORWARDED_CLIENT_CERT) || is_ours(name)
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

/// The headers to remove: each of this server's that is not asserted, in any spelling, and the token if the resource must
/// not receive it.
pub(in crate::authority) fn removed(
    headers: &[(&str, &[u8])],
    asserted: Option<&Asserted>,
    drops_token: bool,
) -> Vec<String> {
    let kept = |name: &str| {
        asserted.is_some_and(|asserted| match name {
            "x-lanyard-scope" => asserted.claims().scope.is_some(),
            ACTOR_HEADER => asserted.claims().act.is_some(),
            RECEIPT_HEADER => asserted.receipt.is_some(),
            _ => IDENTITY_HEADERS.contains(&name),
        })
    };
    let sent = headers.iter().map(|(name, _)| *name).filter(|name| is_ours(name));
    let token = drops_token.then_some("authorization");
    // This server's headers are listed even where the proxy is configured not to send them here.
    let mut names: Vec<String> = IDENTITY_HEADERS
        .into_iter()
        .chain(sent)
        .filter(|name| !kept(name))
        .chain(token)
        .map(ToOwned::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_at_any_place_that_is_no_symbol_is_found() {
        for length in [1, 31, 32, 33, 64, 70] {
            let text = "aZ09-._~+/".repeat(7);
            let text = &text.as_bytes()[..length];
            assert!(are_symbols(text), "{length}");
            for place in 0..length {
                for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric() && !b"-._~+/".contains(byte)) {
                    let mut wrong = text.to_vec();
                    wrong[place] = byte;
                    assert!(!are_symbols(&wrong), "{byte} at {place} of {length}");
                }
            }
        }
    }
}
