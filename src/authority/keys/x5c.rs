//! The certificate in a JWK's `x5c` (RFC 7517 section 4.7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use serde_json::Map;
use serde_json::Value;

use crate::authority::keys::jwk::is_private;
use crate::authority::keys::jwk::public_key;

/// Why a JWK gives no certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidX5c {
    /// There is no `x5c`.
    #[error("it has no x5c")]
    Missing,
    /// `x5c` is not an array that begins with a text.
    #[error("x5c is not an array of texts")]
    NotTexts,
    /// The text is PEM.
    #[error("x5c holds PEM, and not the base64 of DER alone")]
    Pem,
    /// The text has line breaks or spaces in it.
    #[error("x5c has line breaks or spaces in its base64")]
    Spaces,
    /// The text is base64url.
    #[error("x5c is base64url, and not standard base64 with padding")]
    UrlSafe,
    /// The text is not standard base64.
    #[error("x5c is not standard base64")]
    NotBase64,
    /// The certificate cannot be read, or its kind of key has no JWK.
    #[error("x5c holds no certificate that can be read, or one whose kind of key has no JWK")]
    NotACertificate,
    /// The JWK lacks a member of its public key.
    #[error("it lacks the member {0} of its key")]
    MissingMember(&'static str),
    /// The key in the certificate is not the one that the other members describe.
    #[error("the key in x5c is not the one that the other members describe")]
    OtherKey,
    /// The private half of the key is published too.
    #[error("it holds the private key too: replace that key")]
    Private,
}

/// The first certificate in `x5c`. Its key MUST be the one that the other members describe. The certificate itself is
/// not checked.
pub(in crate::authority) fn certificate_in(jwk: &Map<String, Value>) -> Result<CertificateDer<'static>, InvalidX5c> {
    if is_private(jwk) {
        return Err(InvalidX5c::Private);
    }
    let chain = jwk.get("x5c").ok_or(InvalidX5c::Missing)?;
    let text = chain.get(0).and_then(Value::as_str).ok_or(InvalidX5c::NotTexts)?;
    let der = STANDARD.decode(text).map_err(|_| wrong_base64(text))?;
    let key = public_key(&der).ok_or(InvalidX5c::NotACertificate)?;
    if let Some(member) = key.missing_in(jwk) {
        return Err(InvalidX5c::MissingMember(member));
    }
    if key.is(jwk) { Ok(CertificateDer::from(der)) } else { Err(InvalidX5c::OtherKey) }
}

fn wrong_base64(text: &str) -> InvalidX5c {
    if text.contains("-----BEGIN") {
        InvalidX5c::Pem
    } else if text.contains(|character: char| character.is_ascii_whitespace()) {
        InvalidX5c::Spaces
    } else if URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).is_ok() {
        InvalidX5c::UrlSafe
    } else {
        InvalidX5c::NotBase64
    }
}
