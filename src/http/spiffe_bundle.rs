//! The bundle document of the server's own trust domain (SPIFFE Federation section 5), for anybody.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;

use crate::authority::access::SPIFFE_BUNDLE;

/// The route of the public listener, which the mTLS listener has too. The document comes as it changes; where there is none,
/// the trust domain is not this server's to speak for, and the answer is 404.
pub fn routes(document: watch::Receiver<Option<String>>) -> Router {
    Router::new().route(SPIFFE_BUNDLE, get(bundle)).with_state(document)
}

async fn bundle(State(document): State<watch::Receiver<Option<String>>>) -> Response {
    // How long it may be kept is for its refresh hint to say, not for a cache in between.
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
    let document = document.borrow().clone();
    document.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |document| (head, document).into_response())
}
