//! The answer to a call that the guard rejects, outside of the OAuth endpoints.

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse as _;
use axum::response::Response;

use crate::authority::access::Exceeded;
use crate::authority::access::NotAdmitted;
use crate::authority::access::RETRY_AFTER;
use crate::authority::reference::Reference;
use crate::http::challenge;
use crate::http::headers::ask_to_wait;
use crate::http::headers::refer;

/// A call that the guard rejects at a path that is not an OAuth endpoint.
pub fn not_admitted(error: NotAdmitted, headers: &HeaderMap, reference: Reference) -> Response {
    let status = match error {
        NotAdmitted::NoSuchMethod => StatusCode::NOT_FOUND,
        NotAdmitted::NoCertificate | NotAdmitted::Unproven(_) | NotAdmitted::NotForwarded(_) => {
            StatusCode::UNAUTHORIZED
        }
        NotAdmitted::WrongRole => StatusCode::FORBIDDEN,
        NotAdmitted::ShareExceeded(_) => StatusCode::TOO_MANY_REQUESTS,
        NotAdmitted::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        NotAdmitted::NotAtAnEdge => StatusCode::MISDIRECTED_REQUEST,
    };
    let mut response = (status, error.to_string()).into_response();
    refer(&mut response, reference);
    match error {
        NotAdmitted::ShareExceeded(Exceeded { retry_after, .. }) => ask_to_wait(&mut response, retry_after),
        NotAdmitted::Overloaded => ask_to_wait(&mut response, RETRY_AFTER),
        NotAdmitted::NoSuchMethod
        | NotAdmitted::NoCertificate
        | NotAdmitted::Unproven(_)
        | NotAdmitted::NotForwarded(_)
        | NotAdmitted::WrongRole
        | NotAdmitted::NotAtAnEdge => {}
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(challenge::in_scheme_of(headers));
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
