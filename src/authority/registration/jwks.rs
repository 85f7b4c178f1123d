//! The certificates of a `self_signed_tls_client_auth` client: a JWK Set with `x5c` (RFC 8705 section 2.2.2), or PEM
//! that is converted into one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Map;
use serde_json::Value;

use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::keys::is_private;
use crate::authority::keys::may_verify;
use crate::authority::keys::public_key;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// The most certificates that one client may have at a time: the current one, the next one, and spare ones.
const MAX_CERTIFICATES: usize = 16;

/// Parses the registered certificates and stores them in `metadata.jwks`, or parses the `jwks_uri` at which the client
/// publishes them.
pub(in crate::authority) fn read(metadata: &mut ClientMetadata) -> Result<TokenEndpointAuthMethod, InvalidMetadata> {
    if let Some(text) = &metadata.jwks_uri {
        // RFC 7591 section 2: jwks and jwks_uri are mutually exclusive.
        if metadata.jwks.is_some() || metadata.certificate_pem.is_some() {
            return Err(invalid("jwks_uri", "goes only without jwks and certificate_pem"));
        }
        let uri = JwksUri::parse(text);
        let uri = uri.ok_or_else(|| invalid("jwks_uri", "must be an https URL without userinfo and fragment"))?;
        return Ok(TokenEndpointAuthMethod::PublishedTlsClientAuth(uri));
    }
    let jwks = match (metadata.jwks.take(), metadata.certificate_pem.take()) {
        (Some(jwks), None) => jwks,
        (None, Some(pem)) => from_pem(&pem)?,
        (Some(_), Some(_)) => return Err(invalid("certificate_pem", "goes only without jwks")),
        (None, None) => {
            return Err(invalid(
                "jwks",
                "self_signed_tls_client_auth needs jwks with x5c, certificate_pem, or jwks_uri",
            ));
        }
    };
    let certificates = certificates_in(&jwks)?;
    metadata.jwks = Some(jwks);
    Ok(TokenEndpointAuthMethod::SelfSignedTlsClientAuth(certificates))
}

/// Converts PEM certificates into a JWK Set that contains each in `x5c`.
pub fn from_pem(pem: &str) -> Result<Value, InvalidMetadata> {
    let refuse = |problem: &str| invalid("certificate_pem", problem);
    // Also an encrypted one, or one in the form of a kind of key.
    if pem.contains("PRIVATE KEY-----") {
        return Err(refuse("holds a private key: leave only the certificates in it, and replace that key"));
    }
    let certificates: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| refuse("is not PEM"))?;
    if certificates.is_empty() {
        return Err(refuse("holds no CERTIFICATE block"));
    }
    let keys = certificates.iter().map(|certificate| {
        let jwk = public_key(certificate)
            .ok_or_else(|| refuse("holds a certificate that cannot be read, or whose kind of key has no JWK"))?;
        let mut members = jwk.to_json();
        members.insert("kid".to_owned(), Value::from(jwk.thumbprint()));
        // RFC 7517 section 4.7: standard base64, not base64url.
        members.insert("x5c".to_owned(), Value::from(vec![STANDARD.encode(certificate)]));
        Ok(Value::Object(members))
    });
    let keys: Vec<Value> = keys.collect::<Result<_, _>>()?;
    Ok(Value::Object(Map::from_iter([("keys".to_owned(), Value::from(keys))])))
}

fn certificates_in(jwks: &Value) -> Result<Vec<CertificateThumbprint>, InvalidMetadata> {
    let keys = jwks
        .get("keys")
        .and_then(Value::as_array)
        .ok_or_else(|| invalid("jwks", "is not a JWK Set: it lacks the array `keys`"))?;
    let jwks = keys.iter().filter_map(Value::as_object);
    // This also covers keys that are not used here, because all keys are stored and returned.
    if jwks.clone().any(is_private) {
        return Err(invalid("jwks", "holds a private key: register the public members only, and replace that key"));
    }
    // RFC 7517 section 5: keys that cannot be used here are ignored.
    let with_certificates: Vec<_> = jwks.filter(|jwk| jwk.contains_key("x5c")).collect();
    match with_certificates.len() {
        0 => Err(invalid("jwks", "no key in it carries a certificate in x5c")),
        count if count > MAX_CERTIFICATES => Err(invalid("jwks", "carries more than 16 certificates")),
        _ => with_certificates.into_iter().map(certificate_of).collect(),
    }
}

/// The certificates in a JWK Set that its client published. A key that cannot be used is skipped, because it may be
/// meant for another party (RFC 7517 section 5). A key whose private half is published too is skipped, because it
/// authenticates no one. `None` if the value is not a JWK Set, or has more certificates than one client may have.
pub(in crate::authority) fn published_in(jwks: &Value) -> Option<Vec<CertificateThumbprint>> {
    let keys = jwks.get("keys").and_then(Value::as_array)?.iter().filter_map(Value::as_object);
    let keys = keys.filter(|jwk| jwk.contains_key("x5c") && !is_private(jwk));
    let certificates: Vec<_> = keys.filter_map(|jwk| certificate_of(jwk).ok()).take(MAX_CERTIFICATES + 1).collect();
    (certificates.len() <= MAX_CERTIFICATES).then_some(certificates)
}

fn certificate_of(jwk: &Map<String, Value>) -> Result<CertificateThumbprint, InvalidMetadata> {
    let refuse = |problem: &str| invalid("jwks", problem);
    if !may_verify(jwk) {
        return Err(refuse("the key_ops of a key with a certificate do not include verify"));
    }
    let text = jwk.get("x5c").and_then(|chain| chain.get(0)).and_then(Value::as_str);
    let der = text
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or_else(|| refuse("x5c is not an array of standard base64"))?;
    let certificate = Certificate::parse(&der).map_err(|error| refuse(&error.to_string()))?;
    if certificate.names().uri.iter().any(|uri| is_spiffe_uri(uri)) {
        return Err(refuse("a certificate with a SPIFFE ID authenticates by spiffe_x509 only"));
    }
    // RFC 7517 section 4.7: the key in the first certificate MUST match the other members.
    match public_key(&der) {
        Some(key) if key.is(jwk) => Ok(certificate.thumbprint()),
        _ => Err(refuse("the key in x5c is not the one that the other members describe")),
    }
}
