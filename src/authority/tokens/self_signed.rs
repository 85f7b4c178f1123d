//! JWTs that a workload signs with the key of its certificate, to say for whom it asks (draft-ietf-oauth-transaction-tokens section
//! 11.2.1).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::Certificate;
use crate::authority::json::Object;
use crate::authority::json::present;
use crate::authority::keys::Algorithm;
use crate::authority::keys::CompactJws;
use crate::authority::keys::verifying_key;
use crate::authority::tokens::claims::Audience;

/// The algorithms that are accepted: of a certificate's key, and none with a secret.
const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::EdDsa,
];

/// The claims of a self-signed JWT. Others mean nothing.
#[derive(Debug, Deserialize)]
pub struct SelfSignedClaims {
    /// The workload that asks: a `client_id`.
    pub iss: String,
    /// For whom it asks: a `client_id`.
    pub sub: String,
    /// This server's issuer identifier.
    pub aud: Audience,
    /// When it was signed.
    pub iat: Timestamp,
    /// The first second in which it is no longer valid.
    pub exp: Timestamp,
}

/// The JWS header. Keys in it, or names of keys, are ignored: the connection's certificate has the key.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// Verifies the form, the type and the signature, with the key of this certificate. The claims are not checked yet.
pub fn verify_self_signed(certificate: &Certificate, text: &str) -> Result<SelfSignedClaims, DenyReason> {
    let jws = CompactJws::parse(text).ok_or(DenyReason::TokenMalformed)?;
    let Object::<Header>(header) = serde_json::from_slice(&jws.header).map_err(|_| DenyReason::TokenMalformed)?;
    if header.crit.is_some() {
        return Err(DenyReason::TokenMalformed);
    }
    // What else the key may sign has a type of its own (RFC 8725 section 3.11).
    let is_plain = |typ: &String| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("application/jwt");
    if !header.typ.as_ref().is_none_or(is_plain) {
        return Err(DenyReason::TokenType);
    }
    let algorithm = ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == header.alg);
    let key = algorithm.and_then(|algorithm| verifying_key(certificate.der(), algorithm));
    let key = key.ok_or(DenyReason::UnknownKey)?;
    if !jws.is_signed_by(&key) {
        return Err(DenyReason::BadSignature);
    }
    let Object::<SelfSignedClaims>(claims) =
        serde_json::from_slice(&jws.payload).map_err(|_| DenyReason::TokenMalformed)?;
    Ok(claims)
}
