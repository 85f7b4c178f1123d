//! Reports each refusal that did not reach the core: a request that cannot be read, or that is not supported.

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
use crate::http::error::OAuthError;
use crate::http::error::Recorded;
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
    let error = match response.extensions().get::<Recorded>() {
        Some(Recorded::Yes) => return response,
        Some(Recorded::No(error)) => (**error).clone(),
        // The request did not reach the handler, such as one with a body that is too large.
        None => match OAuthError::of_the_framework(response.status()) {
            Some(error) => {
                let cause = response.status().canonical_reason().unwrap_or("the request cannot be read");
                error.recorded_as(cause)
            }
            None => return response,
        },
    };
    let (code, cause) = error.reason_and_cause();
    let reference = authority.report_refused(&sender, refused(code), cause);
    with_allow_of(&response, error.referring(reference).into_response())
}
