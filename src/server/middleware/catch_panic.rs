//! A panic while a request is answered: a fault of ours, which ends that request and nothing else. It is counted, and logged
//! without what the panic says, which may hold what a caller sent.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use futures_util::FutureExt as _;
use hyper::Response;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::server::middleware::refusal;

/// The answer to a request of this method, or that something broke.
pub(in crate::server) async fn catch_panic(
    authority: &Authority,
    method: CalledMethod,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    // What a request shares with others is either locked, which a panic leaves whole (see `change_snapshot`), or swapped.
    if let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await {
        return answer;
    }
    report(authority, method.metric_label());
    Ok(refusal::broken(method.protocol()))
}

/// Takes note of a panic.
pub(in crate::server) fn report(authority: &Authority, method: &'static str) {
    authority.metrics().panicked();
    tracing::error!(method, "a request ended in a panic");
}
