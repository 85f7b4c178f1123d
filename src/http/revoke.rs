//! `POST /oauth2/revoke` (RFC 7009).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;

use crate::authority::Authority;
use crate::authority::decision::LastAdmin;
use crate::authority::decision::RevokeRequest;
use crate::authority::state::Caller;
use crate::http::client::Authentication;
use crate::http::error::OAuthError;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, OAuthError> {
    let form = Form::parse(&headers, &body)?;
    let Authentication { client_id, assertion } = Authentication::of(&form, &headers)?;
    let requester = authority.requester(&caller, client_id, &assertion)?;
    // A wrong or unknown token_type_hint has no effect (section 2.1).
    let token = form.one("token")?.ok_or(OAuthError::invalid_request("token is missing"))?;
    authority.revoke(&caller, &requester, RevokeRequest::Token(token.to_owned()), LastAdmin::Stays).await?;
    // Also for a token that was never valid (section 2.2).
    Ok(NO_STORE)
}
