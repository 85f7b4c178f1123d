//! The errors of the OAuth endpoints (RFC 6749 section 5.2, RFC 6750 section 3, RFC 7591 section 3.2.2).

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::ALLOW;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::authority::access::Exceeded;
use crate::authority::access::NotAdmitted;
use crate::authority::access::RETRY_AFTER;
use crate::authority::decision::GrantError;
use crate::authority::decision::GrantErrorCode;
use crate::authority::decision::RequestForm;
use crate::authority::decision::RevokeError;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::state::Undecidable;
use crate::http::challenge;
use crate::http::headers::NO_STORE;
use crate::http::headers::ask_to_wait;
use crate::http::headers::refer;

/// The `error` of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ErrorCode {
    /// A code of the token endpoint, which the other endpoints use too.
    Grant(GrantErrorCode),
    /// `unauthorized_client` (RFC 7009 section 2.1).
    UnauthorizedClient,
    /// `invalid_grant` (RFC 7523 section 3.1).
    InvalidGrant,
    /// `access_denied` (RFC 6749 section 4.1.2.1).
    AccessDenied,
    /// `invalid_token` (RFC 6750 section 3.1).
    InvalidToken,
    /// `invalid_client_metadata` (RFC 7591 section 3.2.2).
    InvalidClientMetadata,
    /// `invalid_authorization_details` (RFC 9396 section 5).
    InvalidAuthorizationDetails,
}

impl ErrorCode {
    pub(super) const INVALID_REQUEST: Self = Self::Grant(GrantErrorCode::InvalidRequest);

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Grant(code) => code.as_str(),
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant => "invalid_grant",
            Self::AccessDenied => "access_denied",
            Self::InvalidToken => "invalid_token",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
        }
    }

    /// Maps the code to one of those that the token endpoint may return.
    pub(super) fn of_token_endpoint(self) -> GrantErrorCode {
        match self {
            Self::Grant(code) => code,
            Self::UnauthorizedClient | Self::AccessDenied | Self::InvalidToken => GrantErrorCode::InvalidClient,
            Self::InvalidGrant | Self::InvalidClientMetadata | Self::InvalidAuthorizationDetails => {
                GrantErrorCode::InvalidRequest
            }
        }
    }
}

/// An error response: a code of the RFCs, and a fixed sentence or what explains the refusal to an authenticated client.
/// `error_description` allows only printable ASCII without quotation marks and backslashes (RFC 6749 section 5.2), so it
/// includes of what a caller sent only names that have no others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OAuthError {
    status: StatusCode,
    code: ErrorCode,
    description: Cow<'static, str>,
    /// The cause for the log, where it is not the description.
    cause: Option<String>,
    /// The `WWW-Authenticate` header of a 401.
    challenge: &'static str,
    /// The reference of the refusal, once it is recorded.
    reference: Option<Reference>,
    /// When a request may succeed again.
    retry_after: Duration,
}

/// Whether the refusal that a response is has been recorded, as an extension of it.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    /// It is, and has its reference.
    Yes,
    /// It is still to be recorded: this error.
    No(Box<OAuthError>),
}

impl OAuthError {
    pub(super) const fn new(status: StatusCode, code: ErrorCode, description: &'static str) -> Self {
        Self {
            status,
            code,
            description: Cow::Borrowed(description),
            cause: None,
            challenge: challenge::BASIC,
            reference: None,
            retry_after: RETRY_AFTER,
        }
    }

    /// The same error with this description, if there is one.
    pub(super) fn explained(self, description: Option<String>) -> Self {
        match description {
            Some(description) => Self { description: Cow::Owned(description), ..self },
            None => self,
        }
    }

    /// A request with a parameter that is missing, repeated or contradictory.
    pub(super) const fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, description)
    }

    /// Client authentication failed.
    pub(super) const fn invalid_client(description: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Grant(GrantErrorCode::InvalidClient), description)
    }

    /// A request that names its target in `audience`, where RFC 8707 has `resource`.
    pub(super) const fn audience_without_resource() -> Self {
        let code = ErrorCode::Grant(GrantErrorCode::InvalidTarget);
        let description = "audience is not supported: name the protected resource in resource (RFC 8707)";
        Self::new(StatusCode::BAD_REQUEST, code, description)
    }

    /// RFC 6749 section 5.2: the response to a client that used the Authorization header names the scheme that it tried.
    #[must_use]
    pub fn challenging(mut self, headers: &HeaderMap) -> Self {
        self.challenge = challenge::in_scheme_of(headers);
        self
    }

    /// A request that did not reach its endpoint, or whose parts cannot be read there. `None`: the status is no error of it.
    pub(super) fn of_the_framework(status: StatusCode) -> Option<Self> {
        let description = match status {
            StatusCode::NOT_FOUND => "there is no such endpoint here: the metadata names those that there are",
            StatusCode::METHOD_NOT_ALLOWED => "the endpoint does not support this HTTP method",
            StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than 64 KiB",
            StatusCode::REQUEST_TIMEOUT => "the body did not arrive in time",
            StatusCode::TOO_MANY_REQUESTS => "too much of this connection's requests and answers is unfinished",
            status if status.is_client_error() => "the request cannot be read",
            _ => return None,
        };
        Some(Self::new(status, ErrorCode::INVALID_REQUEST, description))
    }

    /// The same error with the reference of the refusal, which is recorded.
    #[must_use]
    pub fn referring(self, reference: Reference) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// What is to be recorded of it.
    pub(super) fn reason_and_cause(&self) -> (ErrorCode, &str) {
        (self.code, self.cause.as_deref().unwrap_or(&self.description))
    }

    /// The same error with another cause for the log.
    pub(super) fn recorded_as(self, cause: &str) -> Self {
        Self { cause: Some(cause.to_owned()), ..self }
    }

    /// The same error with another challenge of a 401.
    pub(super) fn with_challenge(self, challenge: &'static str) -> Self {
        Self { challenge, ..self }
    }

    /// The same error, described by a cause less the characters that a description may not have (RFC 6749 section 5.2).
    pub(super) fn caused_by(self, cause: String) -> Self {
        let plain = cause.chars().filter(|one| matches!(one, ' '..='~') && !matches!(one, '"' | '\\'));
        Self { description: Cow::Owned(plain.collect()), cause: Some(cause), ..self }
    }

    /// RFC 9701 section 5: a signed response is refused with 400 to a caller that is not authenticated.
    #[must_use]
    pub fn as_refusal_of_signed_response(self) -> Self {
        let unauthenticated = self.status == StatusCode::UNAUTHORIZED;
        if unauthenticated { Self { status: StatusCode::BAD_REQUEST, ..self } } else { self }
    }

    /// A call that the guard rejects at an OAuth endpoint. `None` if the path is not an OAuth endpoint, which has no
    /// OAuth error.
    pub fn not_admitted(error: NotAdmitted) -> Option<Self> {
        Some(match error {
            NotAdmitted::NoSuchMethod => return None,
            NotAdmitted::NoCertificate => {
                Self::invalid_client("clients authenticate by a certificate, and this connection has none")
            }
            NotAdmitted::Unproven(_) => {
                Self::invalid_client("the certificate of this connection no longer proves the client")
            }
            NotAdmitted::NotForwarded(_) => {
                Self::invalid_client("the client certificate was not forwarded as it must be")
            }
            NotAdmitted::WrongRole => Self::invalid_client("no client is registered for this certificate"),
            NotAdmitted::ShareExceeded(Exceeded { retry_after, .. }) => {
                let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
                let description = "this client is at the limit of its share: try again later";
                Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, description) }
            }
            NotAdmitted::Overloaded => {
                let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "the server is overloaded: try again later")
            }
            NotAdmitted::NotAtAnEdge => {
                let description = "this is an edge, which neither issues nor changes anything: ask the centre";
                Self::new(StatusCode::MISDIRECTED_REQUEST, ErrorCode::INVALID_REQUEST, description)
            }
        })
    }

    /// A signed response, asked of an edge.
    pub(super) const fn signed_at_an_edge() -> Self {
        let description = "this is an edge, which has no key that signs: ask for application/json, or ask the centre";
        Self::new(StatusCode::MISDIRECTED_REQUEST, ErrorCode::INVALID_REQUEST, description)
    }

    /// The error of an edge that does not have an endpoint, with where the centre is.
    #[must_use]
    pub fn naming_the_centre(self, centre: &str) -> Self {
        let description = format!("{} at {centre}", self.description);
        self.caused_by(description)
    }
}

/// The answer, with this status, to a request whose body was not read to its end, as an OAuth error or as text.
pub fn cut_off(status: StatusCode, oauth: bool) -> Response {
    match OAuthError::of_the_framework(status) {
        Some(error) if oauth => error.into_response(),
        Some(error) => (status, error.description).into_response(),
        None => status.into_response(),
    }
}

/// Adds a body to a refusal of the router that has none, as an OAuth error or as text.
pub fn with_body(response: Response, oauth: bool) -> Response {
    if response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    match (response.status(), oauth) {
        (StatusCode::NOT_FOUND, _) => no_such_path(oauth),
        (status @ StatusCode::METHOD_NOT_ALLOWED, true) => match OAuthError::of_the_framework(status) {
            Some(error) => with_allow_of(&response, error.into_response()),
            None => response,
        },
        (status @ StatusCode::METHOD_NOT_ALLOWED, false) => {
            with_allow_of(&response, (status, "this path does not support this method").into_response())
        }
        _ => response,
    }
}

/// A path without a method, as an OAuth error or as text.
pub fn no_such_path(oauth: bool) -> Response {
    let status = StatusCode::NOT_FOUND;
    match OAuthError::of_the_framework(status) {
        Some(error) if oauth => error.into_response(),
        Some(_) | None => (status, "there is no such path").into_response(),
    }
}

/// Copies the `Allow` header, which a 405 must have (RFC 9110 section 15.5.6).
pub(super) fn with_allow_of(response: &Response, mut body: Response) -> Response {
    if let Some(allow) = response.headers().get(ALLOW) {
        body.headers_mut().insert(ALLOW, allow.clone());
    }
    body
}

/// A request without exactly one valid `Host` (RFC 9112 section 3.2).
pub fn invalid_host() -> Response {
    (StatusCode::BAD_REQUEST, "HTTP/1.1 requires exactly one valid Host header").into_response()
}

/// A request that failed because of an internal error, at any endpoint.
pub fn broken() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        if let GrantError::Undecidable(why) = error {
            return why.into();
        }
        let code = error.code();
        let status = match code {
            GrantErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            GrantErrorCode::InvalidRequest
            | GrantErrorCode::InvalidScope
            | GrantErrorCode::InvalidTarget
            | GrantErrorCode::UnsupportedGrantType => StatusCode::BAD_REQUEST,
            GrantErrorCode::ServerError | GrantErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, ErrorCode::Grant(code), error.sentence(RequestForm::OAuth))
    }
}

impl From<Undecidable> for OAuthError {
    fn from(why: Undecidable) -> Self {
        // The core's sentence and the advice to retry. Retry-After carries the delay.
        let description = match why {
            Undecidable::Stale => "the store has not been followed for too long to decide: try again",
            Undecidable::RecordTooNew => {
                "the store has a record that only a newer version of this server can decide by: try again"
            }
        };
        let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, description)
    }
}

impl From<RevokeError> for OAuthError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotYours => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorCode::UnauthorizedClient,
                "the token was issued to another client",
            ),
            RevokeError::Malformed
            | RevokeError::EndPassed
            | RevokeError::NotLiftable
            | RevokeError::OnlyAdminsLift
            | RevokeError::Held(_)
            | RevokeError::LastAdmin => Self::invalid_request("the token cannot be revoked"),
            RevokeError::QuotaExceeded => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable),
                "this client has revoked as many tokens as it may, and this one is not bound to its certificate",
            ),
            RevokeError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable),
                "whether the token is revoked is not known: try again",
            ),
        }
    }
}

impl<E: Into<Self>> From<Refused<E>> for OAuthError {
    fn from(refused: Refused<E>) -> Self {
        refused.error.into().referring(refused.reference)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.code.as_str(), "error_description": self.description });
        // RFC 6749 section 5.2 permits members besides its own.
        if let (Some(reference), Some(members)) = (self.reference, body.as_object_mut()) {
            members.insert("reference".to_owned(), Value::from(reference.to_string()));
        }
        let mut response = (self.status, NO_STORE, Json(body)).into_response();
        match self.reference {
            Some(reference) => {
                refer(&mut response, reference);
                response.extensions_mut().insert(Recorded::Yes);
            }
            None => drop(response.extensions_mut().insert(Recorded::No(Box::new(self.clone())))),
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            ask_to_wait(&mut response, self.retry_after);
        }
        response
    }
}
