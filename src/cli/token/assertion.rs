//! The client assertion of `lanyard token get`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::authority::identity::is_spiffe_uri;
use crate::client::assertion::JWT_BEARER;
use crate::client::assertion::JWT_SPIFFE;

/// The type of a client assertion, by what it says: a JWT-SVID has a SPIFFE ID as its `sub`, and any other JWT is its issuer's.
pub(in crate::cli::token) fn assertion_type(assertion: &str) -> &'static str {
    let payload = assertion.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = payload.and_then(|json| serde_json::from_slice(&json).ok());
    let subject = claims.as_ref().and_then(|claims| claims.get("sub")?.as_str());
    if subject.is_none_or(is_spiffe_uri) { JWT_SPIFFE } else { JWT_BEARER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_an_assertion_says_its_type() {
        for (claims, kind) in [
            (r#"{"sub":"spiffe://prod.example/a"}"#, "jwt-spiffe"),
            (r#"{"sub":"SPIFFE://prod.example/a"}"#, "jwt-spiffe"),
            (r#"{"sub":"system:serviceaccount:shop:checkout"}"#, "jwt-bearer"),
            ("{}", "jwt-spiffe"),
            ("no JSON", "jwt-spiffe"),
        ] {
            let text = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
            assert_eq!(assertion_type(&text).rsplit(':').next(), Some(kind), "{claims}");
        }
    }
}
