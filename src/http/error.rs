//! The errors of the OAuth endpoints (RFC 6749 section 5.2, RFC 6750 section 3, RFC 7591 section 3.2.2).

use std::borrow::Cow;

use axum::Extension;
use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::PRAGMA;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::authority::access::NotAdmitted;
use crate::authority::decision::GrantError;
use crate::authority::decision::RevokeError;
use crate::authority::registration::DynamicRegistrationError;
use crate::authority::state::Stale;

/// An error as the client sees it: a code of the RFCs and a fixed sentence. `error_description` takes printable ASCII
/// without quotation marks and backslashes only (RFC 6749 section 5.2), so nothing that a caller sent is ever put into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OAuthError {
    status: StatusCode,
    code: &'static str,
    description: &'static str,
    /// The scheme that the response asks for, where it is a 401 that needs one.
    challenge: Option<&'static str>,
    /// Whether the core refused, and has written its line.
    logged: bool,
}

/// What the log has to say of a response, which has it as an extension.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Nothing more.
    Written,
    /// This.
    Open { reason: &'static str, cause: Cow<'static, str> },
}

impl Line {
    fn open(reason: &'static str, cause: impl Into<Cow<'static, str>>) -> Self {
        Self::Open { reason, cause: cause.into() }
    }
}

impl OAuthError {
    const fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self { status, code, description, challenge: None, logged: false }
    }

    /// A request that lacks something, or says it twice, or in two ways.
    pub(super) const fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// The caller is not the client that it says to be.
    pub(super) const fn invalid_client(description: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
    }

    /// A grant type other than `client_credentials`.
    pub(super) const fn unsupported_grant_type() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", "only client_credentials is served")
    }

    /// RFC 6749 section 5.2: a client that tried the Authorization header is told which scheme would have to be right.
    /// None is: clients authenticate by their certificates.
    pub(super) const fn with_challenge(mut self) -> Self {
        self.challenge = Some("Basic realm=\"lanyard\"");
        self
    }

    const fn logged(mut self) -> Self {
        self.logged = true;
        self
    }

    /// RFC 9701 section 5: a signed response is refused with 400 to a caller that is not authenticated.
    #[must_use]
    pub fn as_refusal_of_signed_response(self) -> Self {
        let unauthenticated = self.status == StatusCode::UNAUTHORIZED;
        if unauthenticated { Self { status: StatusCode::BAD_REQUEST, challenge: None, ..self } } else { self }
    }

    /// A call that the guard stops at an OAuth endpoint; `None` where there is no endpoint, and so no error of its own.
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
        })
    }
}

/// A call that the guard stops where no endpoint of OAuth's is: the status says it all.
pub fn not_admitted(error: NotAdmitted) -> Response {
    let status = match error {
        NotAdmitted::NoSuchMethod => StatusCode::NOT_FOUND,
        NotAdmitted::NoCertificate | NotAdmitted::Unproven(_) | NotAdmitted::NotForwarded(_) => {
            StatusCode::UNAUTHORIZED
        }
        NotAdmitted::WrongRole => StatusCode::FORBIDDEN,
    };
    status.into_response()
}

/// A request in which something broke that should not, at any endpoint.
pub fn broken() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        let bad = |code, description| Self::new(StatusCode::BAD_REQUEST, code, description);
        let error = match error {
            GrantError::InvalidClient(_) => Self::invalid_client(
                "client_id is not registered, or this certificate or assertion is not the one that its registration expects",
            ),
            GrantError::InvalidAssertion(_) => Self::invalid_client(
                "client_assertion is not a JWT-SVID for this issuer alone that its trust domain signed and that is good now",
            ),
            GrantError::UnknownAssertionType => Self::invalid_client(
                "client_assertion_type is not urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
            ),
            GrantError::ForeignConnection => {
                Self::invalid_client("the connection needs an X509-SVID with the SPIFFE ID of the client assertion")
            }
            GrantError::HalfAnAssertion => {
                Self::invalid_request("client_assertion and client_assertion_type go together")
            }
            GrantError::InvalidRequest => Self::invalid_request("client_id is missing or malformed"),
            GrantError::InvalidScope => {
                bad("invalid_scope", "the scope is malformed, or goes beyond what is registered for this client")
            }
            GrantError::InvalidTarget => {
                bad("invalid_target", "the resource goes beyond what is registered for this client")
            }
            GrantError::Stale(stale) => stale.into(),
            GrantError::ServerError => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the token could not be made")
            }
        };
        error.logged()
    }
}

impl From<Stale> for OAuthError {
    fn from(_: Stale) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the store has not been followed for too long to decide: try again",
        )
        .logged()
    }
}

impl From<RevokeError> for OAuthError {
    fn from(error: RevokeError) -> Self {
        let error = match error {
            RevokeError::NotYours => {
                Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", "the token was issued to another client")
            }
            RevokeError::Malformed | RevokeError::NotLiftable => Self::invalid_request("the token cannot be revoked"),
            RevokeError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "whether the token is revoked is not known: try again",
            ),
        };
        error.logged()
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.code, "error_description": self.description }));
        let mut response = (self.status, NO_STORE, body).into_response();
        response.extensions_mut().insert(if self.logged {
            Line::Written
        } else {
            Line::open(self.code, self.description)
        });
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Why the registration endpoint refused (RFC 7591 section 3.2.2, RFC 7592 section 2).
#[derive(Debug)]
pub(super) enum RegistrationRefused {
    /// No registration access token came.
    NoToken,
    /// The request cannot be read.
    Malformed(&'static str),
    /// The metadata is not what is served.
    Metadata(&'static str),
    /// The core refused.
    Core(DynamicRegistrationError),
}

impl From<DynamicRegistrationError> for RegistrationRefused {
    fn from(error: DynamicRegistrationError) -> Self {
        Self::Core(error)
    }
}

impl IntoResponse for RegistrationRefused {
    fn into_response(self) -> Response {
        let bad = |code, description: Cow<'static, str>| {
            // RFC 6749 section 5.2: the characters that a description may have.
            let plain = description.chars().filter(|one| matches!(one, ' '..='~') && !matches!(one, '"' | '\\'));
            let body = json!({ "error": code, "error_description": plain.collect::<String>() });
            let line = Extension(Line::open(code, description));
            (StatusCode::BAD_REQUEST, NO_STORE, line, Json(body)).into_response()
        };
        let unauthorized = |challenge: &'static str, cause: String| {
            let line = Extension(Line::open("invalid_token", cause));
            (StatusCode::UNAUTHORIZED, NO_STORE, [(WWW_AUTHENTICATE, challenge)], line).into_response()
        };
        match self {
            // RFC 6750 section 3.1: no error code where no credentials came.
            Self::NoToken => unauthorized("Bearer realm=\"lanyard\"", "no registration access token came".to_owned()),
            Self::Core(error @ DynamicRegistrationError::InvalidToken) => {
                unauthorized("Bearer realm=\"lanyard\", error=\"invalid_token\"", error.to_string())
            }
            Self::Malformed(problem) => bad("invalid_request", problem.into()),
            Self::Metadata(problem) => bad("invalid_client_metadata", problem.into()),
            Self::Core(DynamicRegistrationError::Invalid(error)) => {
                bad("invalid_client_metadata", error.to_string().into())
            }
            Self::Core(DynamicRegistrationError::Forbidden) => {
                let description =
                    "this caller may not register clients, or no operator has registered what it may have";
                OAuthError::new(StatusCode::FORBIDDEN, "access_denied", description).into_response()
            }
            Self::Core(DynamicRegistrationError::Unavailable) => OAuthError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "the registry is unavailable: try again",
            )
            .into_response(),
        }
    }
}

/// RFC 6749 section 5.1: on every response with a token or a credential in it, and on what is beside them.
pub(super) const NO_STORE: [(axum::http::HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
