//! Reports each refusal that the core did not come to: what cannot be read, or is not served.

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

/// Answers, and reports a refusal that was not the core's.
pub(super) async fn logged(State(authority): State<Arc<Authority>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.identity));
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
    authority.report_refused(caller.as_deref(), refused(code), &cause);
    response
}

/// What is wrong with a request that no handler saw, such as one whose body is too large.
fn of_the_framework(status: StatusCode) -> Option<&'static str> {
    status.is_client_error().then(|| status.canonical_reason().unwrap_or("the request cannot be read"))
}
