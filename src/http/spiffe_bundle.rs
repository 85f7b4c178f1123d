//! The bundle document of the server's own trust domain (SPIFFE Federation section 5), readable without authentication.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;

use crate::authority::access::SPIFFE_BUNDLE;
use crate::http::document::Document;
use crate::http::document::public;

/// The route of the public listener, which the mTLS listener has too. The response is always the current document.
/// Without one, this server does not publish the trust domain's bundle and responds with 404.
pub fn routes(document: watch::Receiver<Option<String>>) -> Router {
    Router::new().route(SPIFFE_BUNDLE, public(get(bundle))).with_state(document)
}

async fn bundle(State(document): State<watch::Receiver<Option<String>>>, headers: HeaderMap) -> Response {
    let Some(body) = document.borrow().clone() else { return StatusCode::NOT_FOUND.into_response() };
    // The document's refresh hint says how long it may be kept, so intermediate caches must revalidate it.
    Document { content_type: "application/json", cache_control: "no-cache", body }.answer(&headers)
}
