//! Token exchange at `POST /oauth2/token` (RFC 8693 section 2), and in `txn` for transaction tokens.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::GrantErrorCode;
use crate::authority::json;
use crate::authority::scope::distinct;
use crate::authority::state::Caller;
use crate::authority::tokens::ACCESS_TOKEN_TYPE;
use crate::authority::tokens::JWT_TYPE;
use crate::http::error::ErrorCode;
use crate::http::error::OAuthError;
use crate::http::form::Form;
use crate::http::headers::NO_STORE;

/// The type of a receipt. It is ours: RFC 8693 section 3 permits any URI.
pub(super) const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";

/// The type of a subject that its client vouches for (draft-ietf-oauth-transaction-tokens section 11.2.2).
pub(super) const UNSIGNED_JSON: &str = "urn:ietf:params:oauth:token-type:unsigned_json";

/// What goes only with a transaction token.
pub(super) const CONTEXT: &str = "request_context";
pub(super) const DETAILS: &str = "request_details";

/// The subject token, and its type.
pub(super) fn subject(form: &Form) -> Result<(&str, &str), OAuthError> {
    let text = form.one("subject_token")?.ok_or(OAuthError::invalid_request("subject_token is missing"))?;
    let kind = form.one("subject_token_type")?.ok_or(OAuthError::invalid_request("subject_token_type is missing"))?;
    Ok((text, kind))
}

/// The receipt, and the access token, of a subject of this type.
pub(super) fn presented(
    form: &Form,
    (text, kind): (&str, &str),
) -> Result<(Option<String>, Option<String>), OAuthError> {
    let (text, beside) = (text.to_owned(), form.one("receipt")?);
    match (kind, beside) {
        (ACCESS_TOKEN_TYPE, receipt) => Ok((receipt.map(str::to_owned), Some(text))),
        (_, Some(_)) => Err(OAuthError::invalid_request("receipt goes only with an access token as the subject_token")),
        (RECEIPT, None) => Ok((Some(text), None)),
        (_, None) => Ok((None, None)),
    }
}

/// The targets. Both parameters end in the same claim, so they are judged together (RFC 8693 section 2.1).
pub(super) fn targets(form: &Form) -> Vec<String> {
    distinct(&[form.all("resource"), form.all("audience")].concat())
}

/// The actor token, which may be of one type.
pub(super) fn actor_token(form: &Form) -> Result<Option<String>, OAuthError> {
    match (form.one("actor_token")?, form.one("actor_token_type")?) {
        (None, None) => Ok(None),
        (Some(token), Some(ACCESS_TOKEN_TYPE)) => Ok(Some(token.to_owned())),
        (Some(_), Some(_)) => Err(OAuthError::invalid_request("the actor_token_type is not one that is served here")),
        (None, Some(_)) | (Some(_), None) => {
            Err(OAuthError::invalid_request("actor_token and actor_token_type go together"))
        }
    }
}

/// A JSON object without duplicate members, as it is and not in base64url.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, OAuthError> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(OAuthError::invalid_request("a parameter is no JSON object without duplicate members")),
    }
}

/// The refusal of what goes only with a transaction token.
pub(super) const fn context_of_others() -> OAuthError {
    OAuthError::invalid_request("request_context and request_details go only with a transaction token")
}

/// The refusal of a type of subject token.
pub(super) const fn unknown_subject_type() -> OAuthError {
    OAuthError::invalid_request("the subject_token_type is not one that is exchanged here")
}

/// Reads the form. What a type says decides how its token is read, and never which parameters are there.
pub(super) fn request(
    form: &Form,
    client_id: Option<&str>,
    assertion: ClientAssertion,
) -> Result<ExchangeRequest, OAuthError> {
    let one = |name| form.one(name).map(|value| value.map(str::to_owned));
    let (text, kind) = subject(form)?;
    if ![RECEIPT, ACCESS_TOKEN_TYPE, JWT_TYPE].contains(&kind) {
        return Err(unknown_subject_type());
    }
    let (receipt, access_token) = presented(form, (text, kind))?;
    let actor_token = actor_token(form)?;
    if form.one("requested_token_type")?.is_some_and(|requested| requested != ACCESS_TOKEN_TYPE) {
        return Err(OAuthError::invalid_request("the requested_token_type is not one that is issued here"));
    }
    if !form.all(CONTEXT).is_empty() || !form.all(DETAILS).is_empty() {
        return Err(context_of_others());
    }
    let audience = targets(form);
    let scope = one("scope")?.unwrap_or_default();
    let client_id = client_id.map(str::to_owned);
    let jwt = (kind == JWT_TYPE).then(|| text.to_owned());
    Ok(ExchangeRequest { client_id, assertion, receipt, access_token, jwt, actor_token, audience, scope })
}

/// Exchanges, and prints the answer (section 2.2.1). It has the binding of the token too, so that its absence is noticed
/// (draft-mcguinness-oauth-token-exchange-cnf).
pub(super) async fn answer(
    authority: &Authority,
    caller: &Caller,
    request: &ExchangeRequest,
) -> Result<impl IntoResponse + use<>, OAuthError> {
    let issued = authority.exchange_token(caller, request).await?;
    let body = json!({
        "access_token": issued.access_token,
        "issued_token_type": ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope.to_string(),
        "cnf": { "x5t#S256": caller.identity.thumbprint().to_string() },
    });
    Ok((NO_STORE, Json(body)))
}

/// The refusal of a grant type that is not served.
pub(super) const fn unsupported_grant_type() -> OAuthError {
    let description = "only client_credentials is served, and where they are on token exchange and jwt-bearer";
    let code = ErrorCode::Grant(GrantErrorCode::UnsupportedGrantType);
    OAuthError::new(StatusCode::BAD_REQUEST, code, description)
}

/// The refusal of a request with `authorization_details`: a client that asks for less by them must not get more (RFC 9396 section
/// 5).
pub(super) const fn authorization_details() -> OAuthError {
    let description = "authorization_details is not served: leave it out";
    OAuthError::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidAuthorizationDetails, description)
}

impl From<ExchangeRefusal> for OAuthError {
    fn from(refusal: ExchangeRefusal) -> Self {
        let code = match refusal {
            ExchangeRefusal::NotGranted(error) => return error.into(),
            ExchangeRefusal::NotEnabled => return unsupported_grant_type(),
            ExchangeRefusal::UnauthorizedClient => ErrorCode::UnauthorizedClient,
            // RFC 8693 section 2.2.2: an unacceptable subject_token is no invalid_grant. A requested_token_type that is not
            // issued is malformed, too.
            ExchangeRefusal::TxnTokensNotEnabled
            | ExchangeRefusal::ChainingNotEnabled
            | ExchangeRefusal::RequestMalformed(_)
            | ExchangeRefusal::SubjectNotAccepted => ErrorCode::INVALID_REQUEST,
            ExchangeRefusal::InvalidGrant => ErrorCode::InvalidGrant,
            ExchangeRefusal::InvalidTarget => ErrorCode::Grant(GrantErrorCode::InvalidTarget),
            ExchangeRefusal::InvalidScope => ErrorCode::Grant(GrantErrorCode::InvalidScope),
            ExchangeRefusal::StoreUnavailable => {
                let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, code, refusal.sentence());
            }
        };
        Self::new(StatusCode::BAD_REQUEST, code, refusal.sentence())
    }
}
