//! Public documents: readable by anyone, from scripts in browsers too, with a validator for caches.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::StatusCode;
use axum::http::header::ACCESS_CONTROL_ALLOW_HEADERS;
use axum::http::header::ACCESS_CONTROL_ALLOW_METHODS;
use axum::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use axum::http::header::ACCESS_CONTROL_MAX_AGE;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::ETAG;
use axum::http::header::IF_NONE_MATCH;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::MethodRouter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;

/// Any origin may read the document. Requests with credentials are not meant: there is nothing that depends on them.
const ANY_ORIGIN: (HeaderName, &str) = (ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// A document, as it is served at the moment.
pub(super) struct Document {
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    pub(super) body: String,
}

impl Document {
    /// The response to a request with these headers: 304 if it has the document already (RFC 9110 section 13.1.2).
    pub(super) fn answer(self, headers: &HeaderMap) -> Response {
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&self.body)));
        let known = lists(headers, &etag);
        let head = [(ETAG, etag.as_str()), (CACHE_CONTROL, self.cache_control), ANY_ORIGIN];
        if known {
            (StatusCode::NOT_MODIFIED, head).into_response()
        } else {
            (head, [(CONTENT_TYPE, self.content_type)], self.body).into_response()
        }
    }
}

/// Whether `If-None-Match` lists this entity tag. Weak tags match too (RFC 9110 section 8.8.3.2).
fn lists(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Adds the answer to preflight requests (Fetch standard, CORS-preflight): only reading is allowed.
pub(super) fn public<S: Clone + Send + Sync + 'static>(read: MethodRouter<S>) -> MethodRouter<S> {
    read.options(async || {
        let allowed = [
            ANY_ORIGIN,
            (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
            (ACCESS_CONTROL_MAX_AGE, "86400"),
        ];
        (StatusCode::NO_CONTENT, allowed)
    })
}
