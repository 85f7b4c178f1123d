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
use crate::authority::json::is_gzip;
use crate::authority::json::without_byte_order_mark;
use crate::authority::keys::SkippedKey;
use crate::authority::keys::SkippedKeys;
use crate::authority::keys::certificate_in;
use crate::authority::keys::is_private;
use crate::authority::keys::may_verify;
use crate::authority::keys::public_key;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::auth_method::RegisteredCertificates;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// The largest document that a client may publish, in bytes: with what is stored beside it, it fits into a record.
pub const MAX_PUBLISHED_BYTES: usize = 60 * 1024;

/// The most certificates that one client may have at a time: the current one, the next one, and spare ones.
const MAX_CERTIFICATES: usize = 16;

/// Parses the registered certificates, or the `jwks_uri` at which the client publishes them.
pub(in crate::authority) fn read(metadata: &mut ClientMetadata) -> Result<TokenEndpointAuthMethod, InvalidMetadata> {
    if let Some(text) = &metadata.jwks_uri {
        // RFC 7591 section 2: jwks and jwks_uri are mutually exclusive.
        if metadata.jwks.is_some() || metadata.certificate_pem.is_some() {
            return Err(invalid("jwks_uri", "goes only without jwks and certificate_pem"));
        }
        let uri = JwksUri::parse(text);
        let uri = uri.ok_or_else(|| invalid("jwks_uri", "must be an https URL without userinfo and fragment"))?;
        return Ok(TokenEndpointAuthMethod::PublishedTlsClientAuth(Box::new(uri)));
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
    let registered = RegisteredCertificates { jwks: jwks.to_string().into(), certificates };
    Ok(TokenEndpointAuthMethod::SelfSignedTlsClientAuth(Box::new(registered)))
}

/// Converts PEM certificates into a JWK Set that contains each in `x5c`.
pub fn from_pem(pem: &str) -> Result<Value, InvalidMetadata> {
    let refuse = |problem: &str| invalid("certificate_pem", problem);
    // Also an encrypted one, or one in the form of a kind of key.
    if pem.contains("PRIVATE KEY-----") {
        return Err(refuse("holds a private key: leave only the certificates in it, and replace that key"));
    }
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(without_byte_order_mark(pem.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| refuse("is not PEM"))?;
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
        _ => with_certificates
            .into_iter()
            .map(|jwk| certificate_of(jwk).map_err(|problem| invalid("jwks", &problem)))
            .collect(),
    }
}

/// The certificates in a JWK Set that its client published, and the keys that give none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PublishedCertificates {
    /// The thumbprints of the certificates.
    pub certificates: Vec<CertificateThumbprint>,
    /// The keys that are not used, each with its reason.
    pub skipped: SkippedKeys,
}

/// Why a document is not a JWK Set of a client's certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAJwkSet {
    /// The document is larger than [`MAX_PUBLISHED_BYTES`].
    #[error("the document is larger than 60 KiB")]
    Size,
    /// The bytes are compressed.
    #[error("the document is compressed with gzip, which was not asked for")]
    Compressed,
    /// The text begins with a byte order mark, which RFC 8259 section 8.1 forbids.
    #[error("the document begins with a byte order mark")]
    ByteOrderMark,
    /// The text is not JSON.
    #[error("the document is not JSON")]
    NotJson,
    /// The text is an array.
    #[error("the document is an array, and not an object with the array `keys`")]
    Array,
    /// The text is not an object with the array `keys`.
    #[error("the document lacks the array `keys`")]
    NoKeys,
    /// The document has more certificates than one client may have.
    #[error("the document has more than {MAX_CERTIFICATES} certificates")]
    TooMany,
}

/// Parses a document that a client published. A key that cannot be used is skipped, because it may be meant for another
/// party (RFC 7517 section 5). A key whose private half is published too is skipped, because it authenticates no one.
pub(in crate::authority) fn published_in(json: &[u8]) -> Result<PublishedCertificates, NotAJwkSet> {
    if json.len() > MAX_PUBLISHED_BYTES {
        return Err(NotAJwkSet::Size);
    }
    if is_gzip(json) {
        return Err(NotAJwkSet::Compressed);
    }
    if without_byte_order_mark(json).len() < json.len() {
        return Err(NotAJwkSet::ByteOrderMark);
    }
    let document: Value = serde_json::from_slice(json).map_err(|_| NotAJwkSet::NotJson)?;
    if document.is_array() {
        return Err(NotAJwkSet::Array);
    }
    let keys = document.get("keys").and_then(Value::as_array).ok_or(NotAJwkSet::NoKeys)?;
    let mut published = PublishedCertificates::default();
    for (place, key) in keys.iter().enumerate() {
        match key.as_object().ok_or_else(|| "it is not an object".to_owned()).and_then(certificate_of) {
            Ok(certificate) => published.certificates.push(certificate),
            Err(why) => published.skipped.0.push(SkippedKey::new(place, key, why)),
        }
        if published.certificates.len() > MAX_CERTIFICATES {
            return Err(NotAJwkSet::TooMany);
        }
    }
    Ok(published)
}

fn certificate_of(jwk: &Map<String, Value>) -> Result<CertificateThumbprint, String> {
    if !may_verify(jwk) {
        return Err("its key_ops do not include verify".to_owned());
    }
    let der = certificate_in(jwk).map_err(|error| error.to_string())?;
    let certificate = Certificate::parse(&der).map_err(|error| error.to_string())?;
    if certificate.names().uri.iter().any(|uri| is_spiffe_uri(uri)) {
        return Err("a certificate with a SPIFFE ID authenticates by spiffe_x509 only".to_owned());
    }
    Ok(certificate.thumbprint())
}
