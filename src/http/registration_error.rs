//! The errors of the registration endpoint (RFC 7591 section 3.2.2, RFC 7592 section 2).

use std::borrow::Cow;

use axum::Extension;
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::authority::decision::GrantErrorCode;
use crate::authority::records::NotGranted;
use crate::authority::registration::DynamicRegistrationError;
use crate::http::challenge;
use crate::http::error::ErrorCode;
use crate::http::error::Line;
use crate::http::error::NO_STORE;
use crate::http::error::OAuthError;

/// Why the registration endpoint refused (RFC 7591 section 3.2.2, RFC 7592 section 2).
#[derive(Debug)]
pub(super) enum RegistrationRefused {
    /// The request has no registration access token.
    NoToken,
    /// The request cannot be read.
    Malformed(&'static str),
    /// The metadata asks for something that is not supported.
    Metadata(&'static str),
    /// The core refused the request.
    Core(DynamicRegistrationError),
}

impl From<DynamicRegistrationError> for RegistrationRefused {
    fn from(error: DynamicRegistrationError) -> Self {
        Self::Core(error)
    }
}

impl IntoResponse for RegistrationRefused {
    fn into_response(self) -> Response {
        let bad = |code: ErrorCode, description: Cow<'static, str>| {
            // RFC 6749 section 5.2: the characters that are allowed in a description.
            let plain = description.chars().filter(|one| matches!(one, ' '..='~') && !matches!(one, '"' | '\\'));
            let body = json!({ "error": code.as_str(), "error_description": plain.collect::<String>() });
            let line = Extension(Line::open(code, description));
            (StatusCode::BAD_REQUEST, NO_STORE, line, Json(body)).into_response()
        };
        let unauthorized = |challenge: &'static str, cause: String| {
            let body = json!({ "error": ErrorCode::InvalidToken.as_str(), "error_description": cause });
            let line = Extension(Line::open(ErrorCode::InvalidToken, cause));
            (StatusCode::UNAUTHORIZED, NO_STORE, [(WWW_AUTHENTICATE, challenge)], line, Json(body)).into_response()
        };
        match self {
            // RFC 6750 section 3.1: no error code if the request has no credentials.
            Self::NoToken => unauthorized(challenge::BEARER, "the request has no registration access token".to_owned()),
            Self::Core(error @ DynamicRegistrationError::InvalidToken) => {
                unauthorized("Bearer realm=\"lanyard\", error=\"invalid_token\"", error.to_string())
            }
            Self::Malformed(problem) => bad(ErrorCode::INVALID_REQUEST, problem.into()),
            Self::Metadata(problem) => bad(ErrorCode::InvalidClientMetadata, problem.into()),
            Self::Core(DynamicRegistrationError::Invalid(error)) => {
                bad(ErrorCode::InvalidClientMetadata, error.to_string().into())
            }
            Self::Core(DynamicRegistrationError::Forbidden) => {
                let description =
                    "this caller may not register clients, or no operator has registered what it may have";
                OAuthError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, description).into_response()
            }
            Self::Core(DynamicRegistrationError::NotGranted(beyond)) => {
                let description = "the client lies beyond the grants of this caller";
                let explanation = format!("{} ({})", beyond, NotGranted::CODE);
                let refused = OAuthError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, description);
                refused.explained(Some(explanation)).into_response()
            }
            Self::Core(error @ DynamicRegistrationError::QuotaExceeded) => {
                let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
                let refused = OAuthError::new(StatusCode::TOO_MANY_REQUESTS, code, "");
                refused.explained(Some(error.to_string())).into_response()
            }
            Self::Core(DynamicRegistrationError::Unavailable) => OAuthError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable),
                "the registry is unavailable: try again",
            )
            .into_response(),
        }
    }
}
