//! Chaining to other trust domains at `POST /oauth2/token` (draft-ietf-oauth-identity-chaining): grants for their authorization
//! servers by token exchange, and those that they make for this one (RFC 7523 section 2.1).

use axum::Json;
use axum::response::IntoResponse;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::JwtGrantRequest;
use crate::authority::state::Caller;
use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::JWT_TYPE;
use crate::http::error::OAuthError;
use crate::http::exchange;
use crate::http::exchange::CONTEXT;
use crate::http::exchange::DETAILS;
use crate::http::exchange::RECEIPT;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

/// Reads a request for a grant.
pub(super) fn request(
    form: &Form,
    client_id: Option<&str>,
    assertion: ClientAssertion,
) -> Result<JwtGrantRequest, OAuthError> {
    let (text, kind) = exchange::subject(form)?;
    let itself = match kind {
        RECEIPT | ACCESS_TOKEN_TYPE => None,
        exchange::UNSIGNED_JSON => Some(exchange::object(text)?),
        _ => return Err(exchange::unknown_subject_type()),
    };
    if !form.all(CONTEXT).is_empty() || !form.all(DETAILS).is_empty() {
        return Err(exchange::context_of_others());
    }
    let (receipt, access_token) = exchange::presented(form, (text, kind))?;
    let exchange = ExchangeRequest {
        client_id: client_id.map(str::to_owned),
        assertion,
        receipt,
        access_token,
        jwt: None,
        actor_token: exchange::actor_token(form)?,
        audience: exchange::targets(form),
        scope: form.one("scope")?.unwrap_or_default().to_owned(),
    };
    Ok(JwtGrantRequest { exchange, itself })
}

/// Makes a grant, and prints the answer (section 2.3.2): it is no access token.
pub(super) async fn answer(
    authority: &Authority,
    caller: &Caller,
    request: &JwtGrantRequest,
) -> Result<impl IntoResponse + use<>, OAuthError> {
    let issued = authority.issue_jwt_grant(caller, request).await?;
    let body = json!({
        "access_token": issued.access_token,
        "issued_token_type": JWT_TYPE,
        "token_type": "N_A",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope.to_string(),
        "cnf": { "x5t#S256": caller.identity.thumbprint().to_string() },
    });
    Ok((NO_STORE, Json(body)))
}

/// Reads a grant of another authorization server.
pub(super) fn grant(
    form: &Form,
    client_id: Option<&str>,
    assertion: ClientAssertion,
) -> Result<ExchangeRequest, OAuthError> {
    let grant = form.one("assertion")?.ok_or(OAuthError::invalid_request("assertion is missing"))?;
    Ok(ExchangeRequest {
        client_id: client_id.map(str::to_owned),
        assertion,
        jwt: Some(grant.to_owned()),
        audience: exchange::targets(form),
        scope: form.one("scope")?.unwrap_or_default().to_owned(),
        ..ExchangeRequest::default()
    })
}

/// Issues a token for a grant, and prints the answer (RFC 6749 section 5.1). It has the binding of the token too.
pub(super) async fn redeem(
    authority: &Authority,
    caller: &Caller,
    request: &ExchangeRequest,
) -> Result<impl IntoResponse + use<>, OAuthError> {
    let issued = authority.redeem_jwt_grant(caller, request).await?;
    let body = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope.to_string(),
        "cnf": { "x5t#S256": caller.identity.thumbprint().to_string() },
    });
    Ok((NO_STORE, Json(body)))
}
