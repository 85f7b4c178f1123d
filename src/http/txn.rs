//! Transaction tokens at `POST /oauth2/token` (draft-ietf-oauth-transaction-tokens section 11).

use axum::Json;
use axum::response::IntoResponse;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::TxnRequest;
use crate::authority::decision::TxnSubject;
use crate::authority::state::Caller;
use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::JWT_TYPE;
use crate::authority::tokens::TXN_TOKEN_TYPE;
use crate::http::error::OAuthError;
use crate::http::exchange;
use crate::http::exchange::CONTEXT;
use crate::http::exchange::DETAILS;
use crate::http::exchange::RECEIPT;
use crate::http::exchange::object;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

/// The type of a subject in a JWT that the client signs with the key of its certificate (section 11.2.1).
const SELF_SIGNED: &str = "urn:ietf:params:oauth:token-type:self_signed";

/// What earlier drafts called the scope and the details. Read past, they would be thought to count.
const EARLIER_NAMES: [&str; 2] = ["purpose", "authz_details"];

/// Reads the form.
pub(super) fn request(
    form: &Form,
    client_id: Option<&str>,
    assertion: ClientAssertion,
) -> Result<TxnRequest, OAuthError> {
    if EARLIER_NAMES.iter().any(|name| !form.all(name).is_empty()) {
        return Err(OAuthError::invalid_request("purpose and authz_details are now scope and request_details"));
    }
    let one = |name| form.one(name).map(|value| value.map(str::to_owned));
    let (text, kind) = exchange::subject(form)?;
    let subject = match kind {
        RECEIPT | ACCESS_TOKEN_TYPE | JWT_TYPE => TxnSubject::Presented,
        exchange::UNSIGNED_JSON => TxnSubject::Stated(object(text)?),
        SELF_SIGNED => TxnSubject::SelfSigned(text.to_owned()),
        TXN_TOKEN_TYPE => TxnSubject::Replaced(text.to_owned()),
        _ => return Err(exchange::unknown_subject_type()),
    };
    let (receipt, access_token) = exchange::presented(form, (text, kind))?;
    if form.one("actor_token_type")?.is_some() {
        return Err(OAuthError::invalid_request("an actor token does not go with a transaction token"));
    }
    let request = ExchangeRequest {
        client_id: client_id.map(str::to_owned),
        assertion,
        receipt,
        access_token,
        jwt: (kind == JWT_TYPE).then(|| text.to_owned()),
        actor_token: one("actor_token")?,
        audience: exchange::targets(form),
        scope: one("scope")?.unwrap_or_default(),
    };
    let context = form.one(CONTEXT)?.map(object).transpose()?.unwrap_or_default();
    let details = form.one(DETAILS)?.map(object).transpose()?.unwrap_or_default();
    Ok(TxnRequest { exchange: request, subject, context, details })
}

/// Issues, and prints the answer (section 11.4): the token is no access token, and is bound to nothing.
pub(super) async fn answer(
    authority: &Authority,
    caller: &Caller,
    request: &TxnRequest,
) -> Result<impl IntoResponse + use<>, OAuthError> {
    let issued = authority.issue_txn_token(caller, request).await?;
    let body = json!({
        "access_token": issued.access_token,
        "issued_token_type": TXN_TOKEN_TYPE,
        "token_type": "N_A",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope.to_string(),
    });
    Ok((NO_STORE, Json(body)))
}
