//! The line in the log of each refusal that the core did not come to: what cannot be read, or is not served.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::authority::Authority;
use crate::authority::observe::AuditEvent;
use crate::authority::state::Caller;
use crate::http::error::Line;

/// Answers, and writes the line if the answer is a refusal without one.
pub(super) async fn logged(State(authority): State<Arc<Authority>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.identity));
    let what = match request.uri().path() {
        "/oauth2/token" => "token",
        "/oauth2/introspect" => "introspection",
        "/oauth2/revoke" => "revocation",
        _ => "registration",
    };
    let response = next.run(request).await;
    let (reason, cause) = match response.extensions().get::<Line>() {
        Some(Line::Written) => return response,
        Some(Line::Open { reason, cause }) => (*reason, cause.clone()),
        None => match of_the_framework(response.status()) {
            Some(cause) => ("invalid_request", Cow::Borrowed(cause)),
            None => return response,
        },
    };
    if what == "token" {
        authority.metrics().grant_refused(reason);
    }
    let peer = caller.map(|caller| caller.to_string());
    AuditEvent::Refused { peer: peer.as_deref(), what, reason, cause: &cause }.record();
    response
}

/// What is wrong with a request that no handler saw, such as one whose body is too large.
fn of_the_framework(status: StatusCode) -> Option<&'static str> {
    status.is_client_error().then(|| status.canonical_reason().unwrap_or("the request cannot be read"))
}
