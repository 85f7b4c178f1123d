//! Reports each refusal that did not reach the core: a request that cannot be read, or that is not supported.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::authority::Authority;
use crate::authority::observe::RefusedRequest;
use crate::authority::state::Caller;
use crate::http::error::ErrorCode;
use crate::http::error::Line;

/// Calls the handler, and reports a refusal that did not come from the core.
pub(super) async fn logged(State(authority): State<Arc<Authority>>, request: Request, next: Next) -> Response {
    let sender = request.extensions().get().map(Caller::sender).unwrap_or_default();
    let refused: fn(ErrorCode) -> RefusedRequest = match request.uri().path() {
        "/oauth2/token" => |code| RefusedRequest::Token(code.of_token_endpoint()),
        "/oauth2/introspect" => |code| RefusedRequest::Introspection(code.as_str()),
        "/oauth2/revoke" => |code| RefusedRequest::Revocation(code.as_str()),
        _ => |code| RefusedRequest::Registration(code.as_str()),
    };
    let response = next.run(request).await;
    let (code, cause) = match response.extensions().get::<Line>() {
        Some(Line::Written) => return response,
        Some(Line::Open { reason, cause }) => (*reason, cause.clone()),
        None => match of_the_framework(response.status()) {
            Some(cause) => (ErrorCode::INVALID_REQUEST, Cow::Borrowed(cause)),
            None => return response,
        },
    };
    authority.report_refused(&sender, refused(code), &cause);
    response
}

/// The problem of a request that did not reach a handler, such as one with a body that is too large.
fn of_the_framework(status: StatusCode) -> Option<&'static str> {
    status.is_client_error().then(|| status.canonical_reason().unwrap_or("the request cannot be read"))
}
