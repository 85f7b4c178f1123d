//! The ops listener: plain HTTP for local probes and for metrics scrapers. Bodies contain codes and counts only, and no
//! route changes state.

use std::borrow::Cow;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::authority::observe::MetricsReader;
use crate::http::metrics;

/// Whether the server is ready, and if not, the code of the reason.
pub type Readiness = watch::Receiver<Result<(), &'static str>>;

/// The code of what does not work although the server is ready, if anything.
pub type Degraded = watch::Receiver<Option<&'static str>>;

/// The routes of the ops listener.
pub fn routes(readiness: Readiness, degraded: Degraded, metrics: MetricsReader) -> Router {
    let metrics = get(metrics::metrics).with_state(metrics::Source::new(metrics));
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .with_state((readiness, degraded))
        .route("/metrics", metrics)
}

async fn readyz(State((readiness, degraded)): State<(Readiness, Degraded)>) -> (StatusCode, Cow<'static, str>) {
    match (*readiness.borrow(), *degraded.borrow()) {
        (Ok(()), None) => (StatusCode::OK, "ok".into()),
        (Ok(()), Some(code)) => (StatusCode::OK, format!("degraded: {code}").into()),
        (Err(code), _) => (StatusCode::SERVICE_UNAVAILABLE, code.into()),
    }
}
