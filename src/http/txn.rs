//! Transaction tokens at `POST /oauth2/token` (draft-ietf-oauth-transaction-tokens section 11).

use axum::Json;
use axum::response::IntoResponse;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::TxnRequest;
use crate::authority::decision::TxnSubject;
use crate::authority::json;
use crate::authority::scope::distinct;
use crate::authority::state::Caller;
use crate::http::error::OAuthError;
use crate::http::exchange::ACCESS_TOKEN;
use crate::http::exchange::CONTEXT;
use crate::http::exchange::DETAILS;
use crate::http::exchange::RECEIPT;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

/// The type of a transaction token, of what is issued and of what is replaced.
pub(super) const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// The type of a subject that its client vouches for (section 11.2.2).
const UNSIGNED_JSON: &str = "urn:ietf:params:oauth:token-type:unsigned_json";

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
    let text = form.one("subject_token")?.ok_or(OAuthError::invalid_request("subject_token is missing"))?;
    let (mut receipt, mut access_token) = (None, None);
    let subject = match form.one("subject_token_type")? {
        Some(RECEIPT) => {
            receipt = Some(text.to_owned());
            TxnSubject::Presented
        }
        Some(ACCESS_TOKEN) => {
            (receipt, access_token) = (one("receipt")?, Some(text.to_owned()));
            TxnSubject::Presented
        }
        Some(UNSIGNED_JSON) => TxnSubject::Itself(object(text)?),
        Some(TXN_TOKEN) => TxnSubject::Replaced(text.to_owned()),
        Some(_) => return Err(OAuthError::invalid_request("the subject_token_type is not one that is exchanged here")),
        None => return Err(OAuthError::invalid_request("subject_token_type is missing")),
    };
    if access_token.is_none() && form.one("receipt")?.is_some() {
        return Err(OAuthError::invalid_request("receipt goes only with an access token as the subject_token"));
    }
    if form.one("actor_token_type")?.is_some() {
        return Err(OAuthError::invalid_request("an actor token does not go with a transaction token"));
    }
    let exchange = ExchangeRequest {
        client_id: client_id.map(str::to_owned),
        assertion,
        receipt,
        access_token,
        actor_token: one("actor_token")?,
        audience: distinct(&[form.all("resource"), form.all("audience")].concat()),
        scope: one("scope")?.unwrap_or_default(),
    };
    let context = form.one(CONTEXT)?.map(object).transpose()?.unwrap_or_default();
    let details = form.one(DETAILS)?.map(object).transpose()?.unwrap_or_default();
    Ok(TxnRequest { exchange, subject, context, details })
}

/// A JSON object without duplicate members, as it is and not in base64url.
fn object(text: &str) -> Result<Map<String, Value>, OAuthError> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(OAuthError::invalid_request("a parameter is no JSON object without duplicate members")),
    }
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
        "issued_token_type": TXN_TOKEN,
        "token_type": "N_A",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope.to_string(),
    });
    Ok((NO_STORE, Json(body)))
}
