//! `POST /oauth2/token` (RFC 6749 section 4.4, RFC 8705 section 2, RFC 8707), and by RFC 8693 in `exchange`.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::decision::TokenRequest;
use crate::authority::registration::JWT_BEARER_GRANT;
use crate::authority::registration::TOKEN_EXCHANGE;
use crate::authority::state::Caller;
use crate::authority::tokens::JWT_TYPE;
use crate::authority::tokens::TXN_TOKEN_TYPE;
use crate::http::chaining;
use crate::http::client::Authentication;
use crate::http::error::OAuthError;
use crate::http::exchange;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;
use crate::http::txn;

pub(super) async fn issue(
    State(authority): State<Arc<Authority>>,
    Extension(mut caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let form = Form::parse(&headers, &body)?;
    let Authentication { client_id, assertion } = Authentication::of(&form, &headers)?;
    let enabled = authority.policy().exchange.enabled;
    let grant_type = form.one("grant_type")?;
    let exchanges = match grant_type {
        Some("client_credentials") => false,
        Some(TOKEN_EXCHANGE) if enabled => true,
        Some(JWT_BEARER_GRANT) if enabled && authority.trust().takes_grants() => false,
        Some(_) => return Err(exchange::unsupported_grant_type()),
        None => return Err(OAuthError::invalid_request("grant_type is missing")),
    };
    if !form.all("authorization_details").is_empty() {
        return Err(exchange::authorization_details());
    }
    // RFC 8705 section 2: client_id is required, also if the certificate alone identifies the client. RFC 7521 section
    // 4.2: it is optional with an assertion.
    if client_id.is_none() && !assertion.is_present() {
        return Err(OAuthError::invalid_request("client_id is missing"));
    }
    if grant_type == Some(JWT_BEARER_GRANT) {
        let request = chaining::grant(&form, client_id, assertion)?;
        authority.discover(&mut caller, client_id).await;
        return chaining::redeem(&authority, &caller, &request).await.map(IntoResponse::into_response);
    }
    let requested = if exchanges { form.one("requested_token_type")? } else { None };
    if requested == Some(JWT_TYPE) {
        let request = chaining::request(&form, client_id, assertion)?;
        authority.discover(&mut caller, client_id).await;
        return chaining::answer(&authority, &caller, &request).await.map(IntoResponse::into_response);
    }
    if requested == Some(TXN_TOKEN_TYPE) {
        let request = txn::request(&form, client_id, assertion)?;
        authority.discover(&mut caller, client_id).await;
        return txn::answer(&authority, &caller, &request).await.map(IntoResponse::into_response);
    }
    if exchanges {
        let request = exchange::request(&form, client_id, assertion)?;
        authority.discover(&mut caller, client_id).await;
        return exchange::answer(&authority, &caller, &request).await.map(IntoResponse::into_response);
    }
    let audience = form.all("resource");
    // The parameter that some servers have in place of `resource`. Ignoring it would issue a token for more than was
    // requested.
    if audience.is_empty() && !form.all("audience").is_empty() {
        return Err(OAuthError::audience_without_resource());
    }
    let request = TokenRequest {
        client_id: client_id.map(str::to_owned),
        assertion,
        scope: form.one("scope")?.unwrap_or_default().to_owned(),
        audience,
    };
    authority.discover(&mut caller, client_id).await;
    let issued = authority.issue_token(&caller, &request).await.map_err(|refused| {
        let explanation = authority.explain_refusal(&caller, &request, refused.error);
        OAuthError::from(refused).explained(explanation)
    })?;
    let mut body = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
    });
    // RFC 6749 section 3.3: a scope has at least one token.
    if let Some(members) = body.as_object_mut()
        && !issued.scope.is_empty()
    {
        members.insert("scope".to_owned(), Value::from(issued.scope.to_string()));
    }
    Ok((NO_STORE, Json(body)).into_response())
}
