//! The SPIFFE bundle document (SPIFFE Trust Domain and Bundle section 4): a JWK Set in which the `use` of each key
//! names the kind of SVID that it is for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::json::parse as strict;
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
}

/// Why a text is not a bundle document. A single unusable key is not an error: it is skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidBundleDocument {
    /// The document is larger than [`MAX_BYTES`].
    #[error("the document is larger than 256 KiB")]
    Size,
    /// The text is not JSON, or an object in it has a member twice.
    #[error("not JSON, or an object has a member twice")]
    NotJson,
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
    /// whose `key_ops` do not allow verifying (RFC 7517 section 4.3). A document without usable keys is therefore an empty bundle, as one without keys is.
    ///
    /// X509-SVID section 6.1 forbids a publisher to give an `x509-svid` key a `kid`. Section 6.2, on reading one, does
    /// not check it, and neither does this.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidBundleDocument> {
        if text.len() > MAX_BYTES {
            return Err(InvalidBundleDocument::Size);
        }
        let document = strict(text).map_err(|_| InvalidBundleDocument::NotJson)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(InvalidBundleDocument::NoKeys)?;
        let integer = |name: &str, problem| match document.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(problem),
        };
        let sequence = integer("spiffe_sequence", InvalidBundleDocument::Sequence)?;
        let refresh_hint = integer("spiffe_refresh_hint", InvalidBundleDocument::RefreshHint)?.map(Duration::from_secs);
        let of_use = |wanted: &'static str| {
            keys.iter().filter(move |key| key.get("use").and_then(Value::as_str) == Some(wanted))
        };
        let roots: Vec<CertificateDer<'static>> =
            of_use("x509-svid").filter_map(Value::as_object).filter_map(root).collect();
        let x509 = Anchors::new(&roots).unwrap_or_default();
        // WIT-SVID section 6: a `kid` is unique across both kinds of tokens.
        let for_wit: Vec<&Value> = of_use("wit-svid").filter_map(|key| key.get("kid")).collect();
        let for_jwt = of_use("jwt-svid").filter(|key| signs_jwts(key));
        let jwt = JwtAuthorities::new(for_jwt.filter(|key| key.get("kid").is_none_or(|kid| !for_wit.contains(&kid))));
        Ok(Self { bundle: Bundle { x509, jwt, ..Bundle::default() }, sequence, refresh_hint })
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

/// The CA certificate in `x5c`, of which only the first element is used (X509-SVID section 6.2). Its key must be the
/// one that the other members describe (RFC 7517 section 4.7).
fn root(jwk: &Map<String, Value>) -> Option<CertificateDer<'static>> {
    let text = jwk.get("x5c")?.get(0)?.as_str()?;
    let certificate = CertificateDer::from(STANDARD.decode(text).ok()?);
    let described = public_key(&certificate).is_some_and(|key| key.is(jwk)) && !is_private(jwk) && may_verify(jwk);
    (described && Anchors::new(std::slice::from_ref(&certificate)).is_ok()).then_some(certificate)
}

/// JWT-SVID section 2.1 has no algorithm for any other kind of key.
fn signs_jwts(jwk: &Value) -> bool {
    let known = matches!(jwk.get("kty").and_then(Value::as_str), Some("RSA" | "EC"));
    known && jwk.as_object().is_some_and(|jwk| !is_private(jwk) && may_verify(jwk))
}

fn print_root(root: &CertificateDer<'_>) -> Option<Value> {
    let mut members = public_key(root)?.to_json();
    members.insert("use".to_owned(), Value::from("x509-svid"));
    // RFC 7517 section 4.7: standard base64, not base64url.
    members.insert("x5c".to_owned(), Value::from(vec![STANDARD.encode(root)]));
    Some(Value::Object(members))
}
