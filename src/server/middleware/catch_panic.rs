//! Catches a panic in a request handler: an internal error that ends that request only. It is counted, and logged
//! without the panic message, which may contain data that a caller sent.

use std::convert::Infallible;
use std::panic;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use futures_util::FutureExt as _;
use hyper::Response;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::Sender;
use crate::server::middleware::refusal;

/// Awaits the response to a request of this method by this sender, or returns the response for an internal error if it panics.
pub(in crate::server) async fn catch_panic(
    authority: &Authority,
    sender: impl FnOnce() -> Sender,
    method: CalledMethod,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    // State that requests share is either behind a lock, which a panic leaves consistent (see `change_snapshot`), or
    // swapped atomically.
    if let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await {
        return answer;
    }
    report(authority, method.metric_label());
    Ok(refusal::broken(authority, &sender(), method.protocol()))
}

/// Returns what an act within a request for this method returns; `None` if it panics.
pub(super) fn unless_panic<T>(authority: &Authority, method: CalledMethod, act: impl FnOnce() -> T) -> Option<T> {
    // See above.
    panic::catch_unwind(AssertUnwindSafe(act)).inspect_err(|_| report(authority, method.metric_label())).ok()
}

/// Counts and logs a panic.
pub(super) fn report(authority: &Authority, method: &'static str) {
    authority.metrics().panicked();
    tracing::error!(method, "a request ended in a panic");
}
