//! The bundle document of the server's own trust domain (SPIFFE Federation section 5), readable without authentication.

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

/// The route of the public listener, which the mTLS listener has too. The response is always the current document.
/// Without one, this server does not publish the trust domain's bundle and responds with 404.
pub fn routes(document: watch::Receiver<Option<String>>) -> Router {
    Router::new().route(SPIFFE_BUNDLE, get(bundle)).with_state(document)
}

async fn bundle(State(document): State<watch::Receiver<Option<String>>>) -> Response {
    // The document's refresh hint says how long it may be kept, so intermediate caches must revalidate it.
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
    let document = document.borrow().clone();
    document.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |document| (head, document).into_response())
}
