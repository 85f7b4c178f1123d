//! The SPIFFE bundle document (SPIFFE Trust Domain and Bundle section 4): a JWK Set in which the `use` of each key
//! names the kind of SVID that it is for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::json::is_gzip;
use crate::authority::json::parse as strict;
use crate::authority::json::without_byte_order_mark;
use crate::authority::keys::SkippedKey;
use crate::authority::keys::SkippedKeys;
use crate::authority::keys::certificate_in;
use crate::authority::keys::is_private;
use crate::authority::keys::may_verify;
use crate::authority::keys::public_key;
use crate::authority::trust::anchors::Anchors;
use crate::authority::trust::bundles::Bundle;
use crate::authority::trust::jwt_authorities::JwtAuthorities;

/// The largest document, in bytes: enough for some hundred keys.
pub const MAX_BYTES: usize = 256 * 1024;

/// A parsed bundle document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BundleDocument {
    /// The bundle of the trust domain. An empty bundle accepts no SVID (section 4.1.3).
    pub bundle: Bundle,
    /// `spiffe_sequence`, which grows with each change.
    pub sequence: Option<u64>,
    /// `spiffe_refresh_hint`: how often the publisher wants the document to be fetched.
    pub refresh_hint: Option<Duration>,
    /// The keys that an issuer of JWTs outside of SPIFFE signs with: `use` is `sig`, or left out. They prove no SVID.
    pub signing: JwtAuthorities,
    /// The keys that are not used, each with its reason.
    pub skipped: SkippedKeys,
}

/// Why a text is not a bundle document. A single unusable key is not an error: it is skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidBundleDocument {
    /// The document is larger than [`MAX_BYTES`].
    #[error("the document is larger than 256 KiB")]
    Size,
    /// The bytes are compressed.
    #[error("the document is compressed with gzip, which was not asked for")]
    Compressed,
    /// The text begins with a byte order mark, which RFC 8259 section 8.1 forbids.
    #[error("the document begins with a byte order mark")]
    ByteOrderMark,
    /// The text is not JSON, or an object in it has a member twice.
    #[error("not JSON, or an object has a member twice")]
    NotJson,
    /// The text is an array.
    #[error("not a JWK Set: it is an array, and not an object with the array `keys`")]
    Array,
    /// The text is not an object with the array `keys`.
    #[error("not a JWK Set: it lacks the array `keys`")]
    NoKeys,
    /// `spiffe_sequence` is not an integer from 0 to 2^64 - 1.
    #[error("spiffe_sequence is not an integer, or is negative or larger than 64 bits")]
    Sequence,
    /// `spiffe_refresh_hint` is not an integer from 0 to 2^64 - 1.
    #[error("spiffe_refresh_hint is not an integer of seconds, or is negative or larger than 64 bits")]
    RefreshHint,
}

impl BundleDocument {
    /// Parses a document. A key is skipped if its `kty` or `use` is unknown or missing (section 4.2), or if it cannot
    /// be used: an `x509-svid` without a CA certificate, a `jwt-svid` without `kid`, a key with its private part, or one
    /// whose `key_ops` do not allow verifying (RFC 7517 section 4.3); each is in `skipped`. A document without usable keys
    /// is therefore an empty bundle, as one without keys is.
    ///
    /// X509-SVID section 6.1 forbids a publisher to give an `x509-svid` key a `kid`. Section 6.2, on reading one, does
    /// not check it, and neither does this.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidBundleDocument> {
        if text.len() > MAX_BYTES {
            return Err(InvalidBundleDocument::Size);
        }
        if is_gzip(text) {
            return Err(InvalidBundleDocument::Compressed);
        }
        if without_byte_order_mark(text).len() < text.len() {
            return Err(InvalidBundleDocument::ByteOrderMark);
        }
        let document = strict(text).map_err(|_| InvalidBundleDocument::NotJson)?;
        if document.is_array() {
            return Err(InvalidBundleDocument::Array);
        }
        let keys = document.get("keys").and_then(Value::as_array).ok_or(InvalidBundleDocument::NoKeys)?;
        let integer = |name: &str, problem| match document.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(problem),
        };
        let sequence = integer("spiffe_sequence", InvalidBundleDocument::Sequence)?;
        let refresh_hint = integer("spiffe_refresh_hint", InvalidBundleDocument::RefreshHint)?.map(Duration::from_secs);
        let (bundle, skipped) = read_keys(keys);
        let signing = JwtAuthorities::new(keys.iter().filter(|key| is_issuers(key) && signs_jwts(key).is_ok()));
        Ok(Self { bundle, sequence, refresh_hint, signing, skipped })
    }

    /// Writes the document for these roots. A root whose kind of key has no JWK is left out.
    pub fn print(roots: &[CertificateDer<'_>], sequence: u64, refresh_hint: Duration) -> String {
        let keys: Vec<Value> = roots.iter().filter_map(|root| print_root(root)).collect();
        let document = json!({
            "keys": keys,
            "spiffe_sequence": sequence,
            "spiffe_refresh_hint": refresh_hint.as_secs(),
        });
        document.to_string()
    }
}

/// The keys that can be used, and those that cannot.
fn read_keys(keys: &[Value]) -> (Bundle, SkippedKeys) {
    let (mut roots, mut for_jwt, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (place, key) in keys.iter().enumerate() {
        let read = match usage(key) {
            Ok(Usage::X509) => root(key).map(|root| roots.push(root)),
            Ok(Usage::Jwt) => signs_jwts(key).map(|()| for_jwt.push((place, key))),
            // Not used by this server.
            Ok(Usage::Wit) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = read {
            skipped.push(SkippedKey::new(place, key, why));
        }
    }
    // WIT-SVID section 6: a `kid` is unique across both kinds of tokens.
    let is_wit = |key: &&Value| usage(key) == Ok(Usage::Wit);
    let for_wit: Vec<&Value> = keys.iter().filter(is_wit).filter_map(|key| key.get("kid")).collect();
    let is_ambiguous = |key: &Value| key.get("kid").is_some_and(|kid| for_wit.contains(&kid));
    let jwt = JwtAuthorities::new(for_jwt.iter().map(|(_, key)| *key).filter(|key| !is_ambiguous(key)));
    for (place, key) in for_jwt {
        let kid = key.get("kid").and_then(Value::as_str).filter(|kid| !kid.is_empty());
        match kid {
            None => skipped.push(SkippedKey::new(place, key, "it has no kid")),
            Some(kid) if jwt.find(kid).is_none() => {
                skipped.push(SkippedKey::new(place, key, "another key has its kid"));
            }
            Some(_) => {}
        }
    }
    skipped.sort_by_key(|key| key.number);
    // Each was read alone as an anchor.
    let x509 = Anchors::new(&roots).unwrap_or_default();
    (Bundle { x509, jwt, ..Bundle::default() }, SkippedKeys(skipped))
}

/// The kinds of SVID that a `use` names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Usage {
    X509,
    Jwt,
    Wit,
}

fn usage(key: &Value) -> Result<Usage, String> {
    if !key.is_object() {
        return Err("it is not an object".to_owned());
    }
    match key.get("use").map(Value::as_str) {
        None => Err("it has no use".to_owned()),
        Some(Some("x509-svid")) => Ok(Usage::X509),
        Some(Some("jwt-svid")) => Ok(Usage::Jwt),
        Some(Some("wit-svid")) => Ok(Usage::Wit),
        Some(_) => Err("its use is none of SPIFFE's".to_owned()),
    }
}

/// Whether a key is one with which an issuer outside of SPIFFE signs (RFC 7517 section 4.2).
fn is_issuers(key: &Value) -> bool {
    key.get("use").is_none_or(|usage| usage == "sig")
}

/// The CA certificate in `x5c`, of which only the first element is used (X509-SVID section 6.2).
fn root(key: &Value) -> Result<CertificateDer<'static>, String> {
    let jwk = key.as_object().ok_or("it is not an object")?;
    check_key_ops(jwk)?;
    let certificate = certificate_in(jwk).map_err(|error| error.to_string())?;
    match Anchors::new(std::slice::from_ref(&certificate)) {
        Ok(_) => Ok(certificate),
        Err(error) => Err(format!("its certificate is {error}")),
    }
}

fn check_key_ops(jwk: &Map<String, Value>) -> Result<(), String> {
    if may_verify(jwk) { Ok(()) } else { Err("its key_ops do not include verify".to_owned()) }
}

/// JWT-SVID section 2.1 has no algorithm for any other kind of key.
fn signs_jwts(key: &Value) -> Result<(), String> {
    let jwk = key.as_object().ok_or("it is not an object")?;
    if is_private(jwk) {
        return Err("it holds the private key too: replace that key".to_owned());
    }
    check_key_ops(jwk)?;
    match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA" | "EC") => Ok(()),
        Some(_) => Err("JWT-SVIDs are signed with keys of kty RSA and EC only".to_owned()),
        None => Err("it has no kty".to_owned()),
    }
}

fn print_root(root: &CertificateDer<'_>) -> Option<Value> {
    let mut members = public_key(root)?.to_json();
    members.insert("use".to_owned(), Value::from("x509-svid"));
    // RFC 7517 section 4.7: standard base64, not base64url.
    members.insert("x5c".to_owned(), Value::from(vec![STANDARD.encode(root)]));
    Some(Value::Object(members))
}
