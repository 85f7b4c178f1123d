//! Signatures of tokens (RFC 7515), with keys as JWKs (RFC 7517).

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;

use crate::client::verifier::refused::Refused;

/// The largest token, in bytes. No server issues a larger one.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The bytes of a coordinate on P-256.
const COORDINATE_BYTES: usize = 32;

/// A public key with the one algorithm that it is used with (RFC 8725 section 3.1).
pub(super) struct Key {
    algorithm: &'static str,
    key: ParsedPublicKey,
}

/// The members of a JWK that make the key. Others are not needed: what the stream sends are keys of tokens.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Key {
    /// Parses a JWK for ES256, RS256 or `EdDSA` with Ed25519, the algorithms of servers. `None` for any other.
    pub(super) fn from_jwk(text: &str) -> Option<Self> {
        let jwk: Jwk = object(text.as_bytes())?;
        let bytes = |member: Option<String>| URL_SAFE_NO_PAD.decode(member?).ok();
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
                if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
                    return None;
                }
                // SEC 1 section 2.3.3: 04, then both coordinates.
                let point = [&[4], x.as_slice(), &y].concat();
                ("ES256", ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point))
            }
            ("OKP", Some("Ed25519")) => ("EdDSA", ParsedPublicKey::new(&signature::ED25519, bytes(jwk.x)?)),
            ("RSA", None) => {
                let key = PublicKeyComponents { n: bytes(jwk.n)?, e: bytes(jwk.e)? };
                ("RS256", key.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256))
            }
            _ => return None,
        };
        key.ok().map(|key| Self { algorithm, key })
    }
}

/// The JWS header (RFC 7515 section 4). Keys, or URLs of keys, in it are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    // No extension is understood (RFC 7515 section 4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// The payload of an access token whose signature verifies with one of these keys.
pub(super) fn payload<'k>(token: &str, key: impl Fn(&str) -> Option<&'k Key>) -> Result<Vec<u8>, Refused> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refused::TokenMalformed);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::TokenMalformed);
    let (signed, signature) = token.rsplit_once('.').ok_or(Refused::TokenMalformed)?;
    // A second dot in the payload is not base64url.
    let (header, payload) = signed.split_once('.').ok_or(Refused::TokenMalformed)?;
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let header: Header = object(&header).ok_or(Refused::TokenMalformed)?;
    if header.crit.is_some() {
        return Err(Refused::TokenMalformed);
    }
    if !header.typ.is_some_and(|typ| is_access_token(&typ)) {
        return Err(Refused::TokenType);
    }
    let key = header.kid.and_then(|kid| key(&kid)).filter(|key| key.algorithm == header.alg);
    let key = key.ok_or(Refused::UnknownKey)?;
    key.key.verify_sig(signed.as_bytes(), &signature).map_err(|_| Refused::BadSignature)?;
    Ok(payload)
}

/// RFC 9068 section 4, with RFC 7515 section 4.1.9: media types are case-insensitive, and "application/" may be omitted.
fn is_access_token(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

/// Parses a JSON object. serde would also read a struct from an array of its members' values.
pub(super) fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(text).ok())?
}

/// Reads a member that may be absent but not null: an `Option` alone would read null as absent.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}
