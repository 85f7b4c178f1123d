//! Signing and verifying tokens (RFC 7515, RFC 9068 section 4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::authority::deny_reason::DenyReason;
use crate::authority::json::Object;
use crate::authority::json::present;
use crate::authority::keys;
use crate::authority::keys::CompactJws;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::authority::keys::SigningKey;
use crate::authority::keys::SigningKeys;
use crate::authority::tokens::claims::AccessTokenClaims;
use crate::authority::tokens::verified::VerifiedToken;

/// The largest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = keys::MAX_JWS_BYTES;

/// Why claims were not signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSigned {
    /// Signing with the key failed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// There is no key to sign with.
    #[error("no signing key for {} is left in the store", .0.name())]
    NoKey(SigningAlgorithm),
    /// The token would be larger than the largest accepted token.
    #[error("the token would have more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
}

/// Signs claims into a token, with the key that signs.
pub async fn sign(keys: &SigningKeys, claims: &AccessTokenClaims) -> Result<String, NotSigned> {
    let key = active(keys)?;
    let token = sign_under(key, key.header(), claims).await?;
    if token.len() > MAX_TOKEN_BYTES { Err(NotSigned::TooLarge) } else { Ok(token) }
}

/// Signs the claims of another kind of JWT, whose `typ` prevents its use as an access token (RFC 8725 section 3.12).
pub async fn sign_as(keys: &SigningKeys, typ: &str, claims: &(impl Serialize + Sync)) -> Result<String, NotSigned> {
    let key = active(keys)?;
    sign_under(key, &key.header_of(typ), claims).await
}

/// The room for the header and the signature of a token, in bytes: enough for an RSA key of 4096 bits.
const AROUND_PAYLOAD_BYTES: usize = 1024;

/// Whether a token with these claims has a size that is accepted, with any key.
pub(in crate::authority) fn can_be_signed(claims: &AccessTokenClaims) -> bool {
    let payload = serde_json::to_vec(claims).map_or(usize::MAX, |payload| payload.len());
    let encoded = base64::encoded_len(payload, false).unwrap_or(usize::MAX);
    encoded.saturating_add(AROUND_PAYLOAD_BYTES) <= MAX_TOKEN_BYTES
}

fn active(keys: &SigningKeys) -> Result<&SigningKey, NotSigned> {
    keys.active().ok_or(NotSigned::NoKey(keys.algorithm()))
}

async fn sign_under(key: &SigningKey, header: &str, claims: &(impl Serialize + Sync)) -> Result<String, NotSigned> {
    let payload = serde_json::to_vec(claims).map_err(|_| SigningFailed::Failed)?;
    let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 128);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = key.signer().sign(token.as_bytes()).await?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    Ok(token)
}

/// The JWS header (RFC 7515 section 4). Keys, or URLs of keys, in `jwk`, `jku`, `x5c` and `x5u` are ignored.
#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(borrow)]
    typ: Option<std::borrow::Cow<'a, str>>,
    kid: Option<&'a str>,
    // No extension is supported, so the member's presence alone, even as null, rejects the token (RFC 7515 section
    // 4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// Verifies a token's form, type and signature (RFC 9068 section 4).
pub fn verify(keys: &SigningKeys, token: &str) -> Result<VerifiedToken, DenyReason> {
    let (key, payload) = verified_payload(keys, token, is_access_token_type)?;
    let Object::<AccessTokenClaims>(claims) =
        serde_json::from_slice(&payload).map_err(|_| DenyReason::TokenMalformed)?;
    let token = VerifiedToken::new(key.key_id().clone(), claims);
    if token.ancestors.is_some() { Ok(token) } else { Err(DenyReason::TokenMalformed) }
}

/// The payload of a JWS of a type, and the key that its signature verified with.
pub(in crate::authority::tokens) fn verified_payload<'a>(
    keys: &'a SigningKeys,
    token: &str,
    is_type: impl Fn(&str) -> bool,
) -> Result<(&'a SigningKey, Vec<u8>), DenyReason> {
    let jws = CompactJws::parse(token).ok_or(DenyReason::TokenMalformed)?;
    let Object::<Header<'_>>(header) = serde_json::from_slice(&jws.header).map_err(|_| DenyReason::TokenMalformed)?;
    if header.crit.is_some() {
        return Err(DenyReason::TokenMalformed);
    }
    if !header.typ.is_some_and(|typ| is_type(&typ)) {
        return Err(DenyReason::TokenType);
    }
    let key = header.kid.and_then(|kid| keys.find(kid)).ok_or(DenyReason::UnknownKey)?;
    if header.alg != key.algorithm().name() {
        return Err(DenyReason::UnknownKey);
    }
    if !jws.is_signed_by(key.verifier()) {
        return Err(DenyReason::BadSignature);
    }
    Ok((key, jws.payload))
}

/// RFC 9068 section 4, with RFC 7515 section 4.1.9: media types are case-insensitive, and "application/" may be
/// omitted.
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}
