//! `POST /oauth2/introspect` (RFC 7662), and its signed form (RFC 9701).

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::state::Caller;
use crate::http::accept;
use crate::http::client::Authentication;
use crate::http::error::OAuthError;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

/// The media type of the signed form.
pub const SIGNED: &str = "application/token-introspection+jwt";

pub(super) async fn introspect(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let signed = wants_signed(&headers);
    let answer = answer(&authority, &caller, &headers, &body, signed).await;
    answer.map_err(|error| if signed { error.as_refusal_of_signed_response() } else { error })
}

async fn answer(
    authority: &Authority,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
    signed: bool,
) -> Result<Response, OAuthError> {
    if signed && authority.is_edge() {
        return Err(OAuthError::signed_at_an_edge().naming_the_centre(&authority.policy().mtls_url));
    }
    let form = Form::parse(headers, body)?;
    let Authentication { client_id, assertion } = Authentication::of(&form, headers)?;
    let requester = authority.requester(caller, client_id, &assertion)?;
    // token_type_hint is ignored: there is one type of token, and a wrong hint must have no effect (section 2.1).
    let token = form.one("token")?.ok_or(OAuthError::invalid_request("token is missing"))?;
    let answer = match authority.introspect(&caller.view, &requester, token)? {
        Some(claims) => {
            let mut answer = serde_json::to_value(&*claims).unwrap_or_else(|_| inactive());
            if let Some(members) = answer.as_object_mut() {
                members.insert("active".to_owned(), Value::from(true));
                members.insert("token_type".to_owned(), Value::from("Bearer"));
            }
            answer
        }
        None => inactive(),
    };
    if !signed {
        return Ok((NO_STORE, Json(answer)).into_response());
    }
    let receiver = requester.client_id.map_or_else(|| caller.identity.to_string(), |client_id| client_id.to_string());
    let jwt = authority.sign_introspection(&caller.view, &receiver, &answer).await?;
    Ok((NO_STORE, [(CONTENT_TYPE, SIGNED)], jwt).into_response())
}

/// The response for every inactive token, identical to the byte, so that it does not disclose why (RFC 7662 section
/// 2.2).
fn inactive() -> Value {
    json!({ "active": false })
}

/// Whether the `Accept` header lists the signed form, and does not prefer JSON.
pub fn wants_signed(headers: &HeaderMap) -> bool {
    accept::prefers(headers, SIGNED, "application/json")
}
