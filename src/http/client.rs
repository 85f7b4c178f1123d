//! Client authentication of a request. Clients authenticate by their certificates, or by a JWT-SVID as client assertion
//! in addition to one. No other method is supported.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::authority::decision::ClientAssertion;
use crate::http::error::OAuthError;
use crate::http::form::Form;

/// The client authentication parameters of a request, besides the certificate of its connection.
pub(super) struct Authentication<'a> {
    pub(super) client_id: Option<&'a str>,
    pub(super) assertion: ClientAssertion,
}

impl<'a> Authentication<'a> {
    /// Reads the parameters from a request. A request that uses another authentication method in addition (RFC 6749
    /// section 2.3) or instead is refused, rather than served as if it had not.
    pub(super) fn of(form: &'a Form, headers: &HeaderMap) -> Result<Self, OAuthError> {
        let client_id = form.one("client_id")?;
        let owned = |name| form.one(name).map(|value| value.map(str::to_owned));
        let assertion =
            ClientAssertion { assertion_type: owned("client_assertion_type")?, assertion: owned("client_assertion")? };
        let has_secret = form.one("client_secret")?.is_some();
        let has_header = headers.contains_key(AUTHORIZATION);
        if assertion.is_present() && (has_secret || has_header) {
            // RFC 7521 section 4.2.1 requires invalid_client, where RFC 6749 section 5.2 has invalid_request.
            let error = OAuthError::invalid_client("a request with a client assertion authenticates in no other way");
            return Err(error.challenging(headers));
        }
        if has_secret {
            return Err(OAuthError::invalid_request("there are no client secrets"));
        }
        match (has_header, client_id) {
            (false, client_id) => Ok(Self { client_id, assertion }),
            (true, Some(_)) => Err(OAuthError::invalid_request("the request authenticates in two ways")),
            (true, None) => {
                Err(OAuthError::invalid_client("clients authenticate by their certificate, not by a header")
                    .challenging(headers))
            }
        }
    }
}
