//! The SPIFFE bundle document (SPIFFE Trust Domain and Bundle section 4): a JWK Set in which each key says by `use` what
//! kind of SVID it is for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::json::parse as strict;
use crate::authority::keys::is_private;
use crate::authority::keys::public_key;
use crate::authority::trust::anchors::Anchors;
use crate::authority::trust::bundles::Bundle;
use crate::authority::trust::jwt_authorities::JwtAuthorities;

/// The most bytes that a document may have: some hundred keys.
pub const MAX_BYTES: usize = 256 * 1024;

/// A document, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BundleDocument {
    /// What vouches for the trust domain. It may be empty: then nobody in it is trusted (section 4.1.3).
    pub bundle: Bundle,
    /// `spiffe_sequence`, which grows with each change.
    pub sequence: Option<u64>,
    /// `spiffe_refresh_hint`: how often its publisher wants it to be fetched.
    pub refresh_hint: Option<Duration>,
}

/// Why a text is no bundle document. A single key of no use is no such reason: it is skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidBundleDocument {
    /// More than [`MAX_BYTES`].
    #[error("the document is larger than 256 KiB")]
    Size,
    /// Not JSON, or some object in it has a member twice.
    #[error("not JSON, or a member stands twice in it")]
    NotJson,
    /// Not an object with the array `keys`.
    #[error("not a JWK Set: it lacks the array `keys`")]
    NoKeys,
    /// Not an integer from 0 to 2^64 - 1.
    #[error("spiffe_sequence is not an integer, or negative or beyond 64 bits")]
    Sequence,
    /// Not an integer from 0 to 2^64 - 1.
    #[error("spiffe_refresh_hint is not an integer of seconds, or negative or beyond 64 bits")]
    RefreshHint,
}

impl BundleDocument {
    /// Reads a document. A key is skipped whose `kty` or `use` is unknown or missing (section 4.2), and one that cannot serve
    /// its use: an `x509-svid` without a CA certificate, a `jwt-svid` without `kid`, one that shows its private half. So a
    /// document with which nothing can be done vouches for nobody, as one without keys does.
    ///
    /// X509-SVID section 6.1 forbids who publishes an `x509-svid` key to give it a `kid`; section 6.2, on reading one, does
    /// not look at it, and neither does this.
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

    /// Writes the document with these roots. One whose kind of key has no JWK is left out.
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

/// The CA certificate in `x5c`, of which only the first element counts (X509-SVID section 6.2). RFC 7517 section 4.7: its
/// key must be the one that the other members describe.
fn root(jwk: &Map<String, Value>) -> Option<CertificateDer<'static>> {
    let text = jwk.get("x5c")?.get(0)?.as_str()?;
    let certificate = CertificateDer::from(STANDARD.decode(text).ok()?);
    let described = public_key(&certificate).is_some_and(|key| key.is(jwk)) && !is_private(jwk);
    (described && Anchors::new(std::slice::from_ref(&certificate)).is_ok()).then_some(certificate)
}

/// JWT-SVID section 2.1 has no algorithm for any other kind of key.
fn signs_jwts(jwk: &Value) -> bool {
    let known = matches!(jwk.get("kty").and_then(Value::as_str), Some("RSA" | "EC"));
    known && jwk.as_object().is_some_and(|jwk| !is_private(jwk))
}

fn print_root(root: &CertificateDer<'_>) -> Option<Value> {
    let mut members = public_key(root)?.to_json();
    members.insert("use".to_owned(), Value::from("x509-svid"));
    // RFC 7517 section 4.7: standard base64, not base64url.
    members.insert("x5c".to_owned(), Value::from(vec![STANDARD.encode(root)]));
    Some(Value::Object(members))
}
