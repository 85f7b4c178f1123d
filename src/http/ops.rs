//! The ops listener: plain HTTP for local probes and for metrics scrapers. Bodies contain codes and counts only, and no
//! route changes state.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::authority::observe::MetricsReader;
use crate::http::metrics;

/// Whether the server is ready, and if not, the code of the reason.
pub type Readiness = watch::Receiver<Result<(), &'static str>>;

/// The routes of the ops listener.
pub fn routes(readiness: Readiness, metrics: MetricsReader) -> Router {
    let metrics = get(metrics::metrics).with_state(metrics::Source::new(metrics));
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", metrics)
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match *readiness.borrow() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(code) => (StatusCode::SERVICE_UNAVAILABLE, code),
    }
}
