//! The errors of the registration endpoint (RFC 7591 section 3.2.2, RFC 7592 section 2).

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::authority::decision::GrantErrorCode;
use crate::authority::records::NotGranted;
use crate::authority::registration::DynamicRegistrationError;
use crate::http::challenge;
use crate::http::error::ErrorCode;
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

/// What is said where nothing more may be.
const HELD: &str = "a second admin has to approve the change";

impl From<DynamicRegistrationError> for RegistrationRefused {
    fn from(error: DynamicRegistrationError) -> Self {
        Self::Core(error)
    }
}

impl IntoResponse for RegistrationRefused {
    fn into_response(self) -> Response {
        let bad = |code: ErrorCode, cause: String| OAuthError::new(StatusCode::BAD_REQUEST, code, "").caused_by(cause);
        let unauthorized = |challenge: &'static str, cause: String| {
            let error = OAuthError::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidToken, "");
            error.caused_by(cause).with_challenge(challenge)
        };
        let error = match self {
            // RFC 6750 section 3.1: no error code if the request has no credentials.
            Self::NoToken => unauthorized(challenge::BEARER, "the request has no registration access token".to_owned()),
            Self::Core(error @ DynamicRegistrationError::InvalidToken) => {
                unauthorized("Bearer realm=\"lanyard\", error=\"invalid_token\"", error.to_string())
            }
            Self::Malformed(problem) => bad(ErrorCode::INVALID_REQUEST, problem.to_owned()),
            Self::Metadata(problem) => bad(ErrorCode::InvalidClientMetadata, problem.to_owned()),
            Self::Core(DynamicRegistrationError::Invalid(error)) => {
                bad(ErrorCode::InvalidClientMetadata, error.to_string())
            }
            Self::Core(DynamicRegistrationError::Forbidden) => {
                let description =
                    "this caller may not register clients, or no operator has registered what it may have";
                OAuthError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, description)
            }
            Self::Core(DynamicRegistrationError::NotGranted(beyond)) => {
                let description = "the client lies beyond the grants of this caller";
                let explanation = format!("{} ({})", beyond, NotGranted::CODE);
                let refused = OAuthError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, description);
                refused.explained(Some(explanation))
            }
            Self::Core(DynamicRegistrationError::Held(held)) => {
                let refused = OAuthError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, HELD);
                refused.explained(Some(format!("{held} ({})", held.code())))
            }
            Self::Core(error @ DynamicRegistrationError::QuotaExceeded) => {
                let code = ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable);
                let refused = OAuthError::new(StatusCode::TOO_MANY_REQUESTS, code, "");
                refused.explained(Some(error.to_string()))
            }
            Self::Core(DynamicRegistrationError::Unavailable) => OAuthError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Grant(GrantErrorCode::TemporarilyUnavailable),
                "the registry is unavailable: try again",
            ),
        };
        error.into_response()
    }
}
