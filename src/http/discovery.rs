//! What anybody may read: the public keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::authority::Authority;

/// The routes of the public listener, which the mTLS listener has too.
pub fn routes(authority: Arc<Authority>) -> Router {
    Router::new().route("/oauth2/jwks", get(jwks)).with_state(authority)
}

/// RFC 7517 section 8.5 registers the media type. The keys are published before they sign, so a minute's cache is safe.
async fn jwks(State(authority): State<Arc<Authority>>) -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=60")];
    (headers, authority.keys().jwks())
}
