//! The challenges of 401 responses (RFC 9110 section 15.5.2).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The challenge of a request that tried no scheme, or one without a challenge here. No scheme authenticates a client:
/// clients authenticate by their certificates. But RFC 9110 requires a challenge, and this is the first that RFC 6749
/// names (section 2.3.1).
pub(super) const BASIC: &str = "Basic realm=\"lanyard\"";

pub(super) const BEARER: &str = "Bearer realm=\"lanyard\"";

const DPOP: &str = "DPoP realm=\"lanyard\"";

/// The challenge in the scheme of the request (RFC 6749 section 5.2).
pub(super) fn in_scheme_of(headers: &HeaderMap) -> &'static str {
    let tried = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scheme = tried.split(' ').next().unwrap_or_default();
    let challenges = [("basic", BASIC), ("bearer", BEARER), ("dpop", DPOP)];
    let found = challenges.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    found.map_or(BASIC, |(_, challenge)| challenge)
}
