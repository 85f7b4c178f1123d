//! What an `issuer_jwt` client registers of its assertions: issuer, subject, and further claims, each by equality.

use crate::authority::identity::is_spiffe_uri;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::auth_method::RegisteredClaims;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// The most further claims.
const MAX_CLAIMS: usize = 16;

/// The longest text of one of them, in bytes.
const MAX_BYTES: usize = 2048;

/// Parses the registered claims.
pub(in crate::authority) fn read(metadata: &mut ClientMetadata) -> Result<TokenEndpointAuthMethod, InvalidMetadata> {
    let issuer = metadata.issuer.take().filter(|text| is_text(text));
    let issuer = issuer.ok_or_else(|| invalid("issuer", "must be the iss of the client's assertions"))?;
    let subject = metadata.subject.take().filter(|text| is_text(text));
    let subject = subject.ok_or_else(|| invalid("subject", "must be the sub of the client's assertions"))?;
    if subject.contains('*') {
        return Err(invalid("subject", "is compared as it is, and is no pattern: write it without *"));
    }
    if is_spiffe_uri(&subject) {
        return Err(invalid("subject", "is a SPIFFE ID, which only its trust domain can vouch for: use spiffe_jwt"));
    }
    let claims = std::mem::take(&mut metadata.claims);
    if claims.len() > MAX_CLAIMS {
        return Err(invalid("claims", "must be 16 at most"));
    }
    for (pointer, value) in &claims {
        if !is_json_pointer(pointer) {
            let problem =
                "each name must be a JSON Pointer (RFC 6901), such as /repository_id or /a/b, where ~1 is a slash";
            return Err(invalid("claims", problem));
        }
        if !is_text(value) {
            return Err(invalid("claims", "each value must be the text that the claim has"));
        }
    }
    if metadata.tls_client_certificate_bound_access_tokens == Some(false) {
        let problem = "must be true: an assertion proves no key, so that the token must be bound to one";
        return Err(invalid("tls_client_certificate_bound_access_tokens", problem));
    }
    Ok(TokenEndpointAuthMethod::IssuerJwt(Box::new(RegisteredClaims { issuer, subject, claims })))
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_BYTES && !text.chars().any(char::is_control)
}

/// Whether a text is a JSON Pointer (RFC 6901 section 3), and not that to the whole.
pub fn is_json_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1);
    text.starts_with('/') && is_text(text) && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']))
}
