//! The ops listener: plain HTTP for the machine's own probes and for whoever collects metrics. Bodies hold codes and counts
//! only, and nothing here changes state.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::authority::observe::Measures;
use crate::http::metrics;

/// Whether the server is ready, and if not, the code that says why.
pub type Standing = watch::Receiver<Result<(), &'static str>>;

/// The routes of the ops listener.
pub fn routes(standing: Standing, measures: Measures) -> Router {
    let metrics = get(metrics::metrics).with_state(metrics::Source::new(measures));
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .with_state(standing)
        .route("/metrics", metrics)
}

async fn readyz(State(standing): State<Standing>) -> (StatusCode, &'static str) {
    match *standing.borrow() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(code) => (StatusCode::SERVICE_UNAVAILABLE, code),
    }
}
