//! Reports each refusal that did not reach the core: a request that cannot be read, or that is not supported.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use axum::response::Response;

use crate::authority::Authority;
use crate::authority::observe::RefusedRequest;
use crate::authority::state::Caller;
use crate::http::error::ErrorCode;
use crate::http::error::Line;
use crate::http::error::OAuthError;
use crate::http::error::with_allow_of;

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
    let (code, cause, response) = match response.extensions().get::<Line>() {
        Some(Line::Written) => return response,
        Some(Line::Open { reason, cause }) => (*reason, cause.clone(), response),
        // The request did not reach the handler, such as one with a body that is too large.
        None => match OAuthError::of_the_framework(response.status()) {
            Some(error) => {
                let cause = response.status().canonical_reason().unwrap_or("the request cannot be read");
                (ErrorCode::INVALID_REQUEST, Cow::Borrowed(cause), with_allow_of(&response, error.into_response()))
            }
            None => return response,
        },
    };
    authority.report_refused(&sender, refused(code), &cause);
    response
}
