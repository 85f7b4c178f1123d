//! The public key of the audit trail, readable without authentication. It signs no token: it is in no other document.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use crate::authority::access::AUDIT_JWKS;
use crate::http::document::Document;
use crate::http::document::public;

/// The route of the public listener, which the mTLS listener has too. The document is a JWK Set (RFC 7517 section 5), without
/// keys where nothing is signed.
pub fn routes(document: Arc<str>) -> Router {
    Router::new().route(AUDIT_JWKS, public(get(keys))).with_state(document)
}

async fn keys(State(document): State<Arc<str>>, headers: HeaderMap) -> Response {
    let body = document.as_ref().to_owned();
    Document { content_type: "application/jwk-set+json", cache_control: "no-cache", body }.answer(&headers)
}
