//! Headers that several kinds of responses have.

use std::time::Duration;

use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::PRAGMA;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;

use crate::authority::reference::REFERENCE_HEADER;
use crate::authority::reference::Reference;

/// Sets the header with the reference of a refusal.
pub(super) fn refer(response: &mut Response, reference: Reference) {
    // A reference is always valid in a header.
    if let Ok(value) = HeaderValue::try_from(reference.to_string()) {
        response.headers_mut().insert(REFERENCE_HEADER, value);
    }
}

/// Sets `Retry-After` (RFC 9110 section 10.2.3), in whole seconds.
pub(super) fn ask_to_wait(response: &mut Response, wait: Duration) {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// RFC 6749 section 5.1: required on every response with a token or a credential, and also set on the other responses
/// of these endpoints.
pub(super) const NO_STORE: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
