//! Who a request says to come from. Clients authenticate by their certificates and in no other way.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::http::error::OAuthError;
use crate::http::form::Form;

/// The parameters by which clients authenticate elsewhere.
const OTHER_METHODS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

/// The `client_id` of a request. One that tries another method of authentication besides (RFC 6749 section 2.3) or instead
/// is refused, rather than served as if it had not.
pub(super) fn named_in<'a>(form: &'a Form, headers: &HeaderMap) -> Result<Option<&'a str>, OAuthError> {
    let client_id = form.one("client_id")?;
    for method in OTHER_METHODS {
        if form.one(method)?.is_some() {
            return Err(OAuthError::invalid_request(
                "clients authenticate by their certificate, and by one method only",
            ));
        }
    }
    match (headers.contains_key(AUTHORIZATION), client_id) {
        (false, client_id) => Ok(client_id),
        (true, Some(_)) => Err(OAuthError::invalid_request("the request authenticates in two ways")),
        (true, None) => {
            Err(OAuthError::invalid_client("clients authenticate by their certificate, not by a header")
                .with_challenge())
        }
    }
}
