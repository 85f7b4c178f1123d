//! The question of an `ext_authz` check and its answer, and how the headers of the request are read.

use std::sync::Arc;

use crate::authority::decision::binding::Verdict;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::evidence::InvalidForwardedCertificate;
use crate::authority::resources::Destination;
use crate::authority::scope::Scope;
use crate::authority::tokens::VerifiedToken;

/// The headers by which an allowance tells the resource who calls.
pub const IDENTITY_HEADERS: [&str; 4] =
    ["x-lanyard-client-id", "x-lanyard-subject", "x-lanyard-scope", "x-lanyard-binding"];

/// What all headers of ours begin with, those to come too: no client's may reach a resource.
const OUR_HEADERS: &str = "x-lanyard-";

/// One request, as a proxy tells of it.
#[derive(Debug)]
pub struct CheckRequest<'a> {
    /// Where it goes.
    pub destination: Destination<'a>,
    /// Its method.
    pub method: &'a str,
    /// Its path, with the query.
    pub path: &'a str,
    /// Its headers, in no order, several under one name or joined by commas.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// `source.certificate`.
    pub certificate: &'a str,
    /// `source.principal`.
    pub principal: &'a str,
}

/// Why a request is turned away.
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
    /// It brings no bearer token in its `authorization` header.
    #[error("an access token is needed")]
    TokenMissing,
    /// More than one `authorization` header, or one that is not as RFC 6750 section 2.1 has it.
    #[error("the authorization header is not one bearer token")]
    AuthorizationMalformed,
    /// What tells of the certificate cannot be read.
    #[error("{0}")]
    EvidenceMalformed(#[from] InvalidEvidence),
    /// No resource that the proxy fronts is meant.
    #[error("the request is for no protected resource that this proxy fronts")]
    ResourceUnknown,
    /// None of the resource's routes matches.
    #[error("the resource has no route for this method and path")]
    RouteUnknown,
    /// Servers differ in what they make of the path.
    #[error("the path is not in its one plain form")]
    PathNotCanonical,
    /// The check itself cannot be read.
    #[error("the check cannot be read")]
    RequestMalformed,
    /// Whoever asks may not.
    #[error("the caller may not ask for checks")]
    NotAProxy,
    /// There is too much to do, or something broke.
    #[error("the check could not be made")]
    Unable,
}

impl CheckRefusal {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        if let Self::Denied(reason) = self { reason.code() } else { CheckRefusalCode::from(self).into() }
    }

    /// More than the code says.
    pub(in crate::authority) fn cause(self) -> Option<InvalidEvidence> {
        if let Self::EvidenceMalformed(cause) = self { Some(cause) } else { None }
    }
}

/// The answer to a check.
#[derive(Clone, Debug)]
pub enum CheckAnswer {
    /// The request goes through.
    Allow(Allowance),
    /// It does not.
    Deny(Denial),
}

/// How a request goes through.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// What is asserted of the one who calls; nothing on a public route, and where a denial is let through.
    pub asserted: Option<Asserted>,
    /// The headers to take out of the request. None of them is one that is asserted.
    pub remove: Vec<String>,
    /// The denial that is let through, where it is one.
    pub let_through: Option<CheckRefusal>,
    /// Whether the response is to say so.
    pub say_so: bool,
}

/// Who calls, and how that is known.
#[derive(Clone, Debug)]
pub struct Asserted {
    /// The resource, by its audience.
    pub audience: String,
    /// The verified token.
    pub token: Arc<VerifiedToken>,
    /// How its use was judged.
    pub verdict: Verdict,
}

/// How a request is turned away.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Why.
    pub refusal: CheckRefusal,
    /// The resource, by its audience, once it was found.
    pub audience: Option<String>,
    /// The scopes that the route needs, once it was found.
    pub scope: Scope,
}

/// What was found out about a request on its way.
#[derive(Default)]
pub(in crate::authority) struct Findings {
    pub(in crate::authority) scope: Scope,
    pub(in crate::authority) token: Option<Arc<VerifiedToken>>,
    pub(in crate::authority) evidence: Option<Evidence>,
}

/// All values under one name.
fn values<'a>(headers: &'a [(&str, &'a [u8])], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// The lines of a header that is a list, as one (RFC 9110 section 5.3).
pub(in crate::authority) fn joined(headers: &[(&str, &[u8])], name: &str) -> Result<String, InvalidEvidence> {
    let lines: Vec<&[u8]> = values(headers, name).collect();
    String::from_utf8(lines.join(&b","[..]))
        .map_err(|_| InvalidEvidence::Forwarded(InvalidForwardedCertificate::Unprintable))
}

/// The token in the one `authorization` header (RFC 6750 section 2.1): the scheme in any case, one or more spaces, and a
/// `b64token`, in which there is no comma, so that two headers which a proxy joined are seen. Neither a form nor the query
/// is looked at (sections 2.2 and 2.3).
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
    let well_formed =
        !symbols.is_empty() && symbols.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    if well_formed { Ok(token) } else { Err(CheckRefusal::AuthorizationMalformed) }
}

/// The headers to take out: every one of ours that is not asserted, in whatever spelling servers take for it (some read
/// `X_Lanyard_Subject` as the same), and the token where the resource is not to have it.
pub(in crate::authority) fn removed(
    headers: &[(&str, &[u8])],
    asserted: Option<&Asserted>,
    drops_token: bool,
) -> Vec<String> {
    let kept = |name: &str| {
        let empty = name == "x-lanyard-scope" && asserted.is_some_and(|asserted| asserted.token.claims.scope.is_none());
        asserted.is_some() && !empty && IDENTITY_HEADERS.contains(&name)
    };
    let ours = |name: &str| {
        let beginning = name.as_bytes().get(..OUR_HEADERS.len()).unwrap_or_default();
        beginning
            .iter()
            .zip(OUR_HEADERS.bytes())
            .all(|(&byte, our)| byte.eq_ignore_ascii_case(&our) || (byte, our) == (b'_', b'-'))
            && beginning.len() == OUR_HEADERS.len()
    };
    let sent = headers.iter().map(|(name, _)| *name).filter(|name| ours(name));
    let token = drops_token.then_some("authorization");
    // Ours are named also where the proxy was told not to send them here.
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
