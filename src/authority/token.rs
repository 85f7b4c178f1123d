//! Access tokens: JWTs as RFC 9068 has them, bound as RFC 8705 section 3.1 has it.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::authority::certificate::Certificate;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::jws;
use crate::authority::jws::CompactJws;
use crate::authority::keys::KeyId;
use crate::authority::keys::SigningFailed;
use crate::authority::keys::SigningKey;
use crate::authority::keys::SigningKeys;
use crate::authority::registration::ClientId;

/// The most bytes that a token may have.
pub const MAX_TOKEN_BYTES: usize = jws::MAX_BYTES;

/// What a token says (RFC 9068 section 2.2). A member of another JSON type than its own makes the token malformed: it is
/// never taken for one that is not there. So does a member that stands twice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessTokenClaims {
    /// The server's issuer identifier.
    pub iss: String,
    /// The client: with client credentials there is no other subject (RFC 9068 section 2.2).
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// The first second in which it is no longer good.
    pub exp: Timestamp,
    /// When it was issued.
    pub iat: Timestamp,
    /// From when it is good.
    pub nbf: Timestamp,
    /// 128 random bits, base64url.
    pub jti: String,
    /// The client.
    pub client_id: String,
    /// Space-separated scopes; left out where there are none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What its user must prove to hold.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// What else is known of the certificate that it is bound to, where its client's rotation looks at that.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub lanyard_bound: Option<BoundCertificate>,
    /// The creation id of the registration that it was issued under.
    pub lanyard_creation: String,
}

/// The confirmation claim (RFC 7800 section 3.1, RFC 8705 section 3.1). Members that are not known are ignored; a
/// confirmation by something other than a certificate confirms nothing here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Confirmation {
    /// The thumbprint of the certificate, base64url.
    #[serde(rename = "x5t#S256", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

/// What tells a renewed certificate from an older one, and a renewed one with the same key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BoundCertificate {
    /// Its notBefore.
    pub nbf: Timestamp,
    /// SHA-256 of its `SubjectPublicKeyInfo` in DER, base64url.
    pub spki: String,
}

impl BoundCertificate {
    /// That of a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self { nbf: certificate.not_before(), spki: certificate.public_key_digest() }
    }

    /// Whether a certificate is a renewal of this one, as far as that can be seen: it is younger, or has the same key.
    pub fn is_renewed_by(&self, certificate: &Certificate) -> bool {
        certificate.not_before() > self.nbf || certificate.public_key_digest() == self.spki
    }
}

/// One audience, or several (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// Whether `audience` is one of them: compared whole, byte by byte.
    pub fn includes(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

impl From<Vec<String>> for Audience {
    fn from(audiences: Vec<String>) -> Self {
        match <[String; 1]>::try_from(audiences) {
            Ok([one]) => Self::One(one),
            Err(several) => Self::Several(several),
        }
    }
}

impl AccessTokenClaims {
    /// The certificate that the token is bound to.
    pub fn bound_to(&self) -> Option<CertificateThumbprint> {
        self.cnf.as_ref()?.x5t_s256.as_deref().and_then(CertificateThumbprint::parse)
    }
}

/// Why claims did not become a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSigned {
    /// The key failed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// The token would be larger than any that is accepted.
    #[error("the token would have more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
}

/// Signs claims into a token.
pub fn sign(key: &SigningKey, claims: &AccessTokenClaims) -> Result<String, NotSigned> {
    sign_under(key, key.header(), claims)
}

/// Signs the claims of another kind of JWT, whose `typ` keeps it from ever being taken for a token (RFC 8725 section 3.12).
pub fn sign_as(key: &SigningKey, typ: &str, claims: &impl Serialize) -> Result<String, NotSigned> {
    sign_under(key, &key.header_of(typ), claims)
}

fn sign_under(key: &SigningKey, header: &str, claims: &impl Serialize) -> Result<String, NotSigned> {
    let payload = serde_json::to_vec(claims).map_err(|_| SigningFailed)?;
    let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 128);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = key.signer().sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    if token.len() > MAX_TOKEN_BYTES { Err(NotSigned::TooLarge) } else { Ok(token) }
}

/// A token whose signature verified under one of our keys. That is all it says: nothing about time, audience, client or
/// binding, which are looked at on every use.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The key that verified it; whether that key still counts is looked at on every use too.
    pub key_id: KeyId,
    /// What it says.
    pub claims: AccessTokenClaims,
    /// The client that it names, read once; `None` where that is no `client_id`.
    pub client_id: Option<ClientId>,
}

/// The JWS header (RFC 7515 section 4). Keys, or pointers to keys, in `jwk`, `jku`, `x5c`, `x5u` are never looked at.
#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(borrow)]
    typ: Option<std::borrow::Cow<'a, str>>,
    kid: Option<&'a str>,
    // No extension is understood, so its presence alone, even as null, rejects the token (RFC 7515 section 4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// Reads a member that may be left out but is never null: an `Option` alone would take null for absence.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// The same for a member that is an object.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    Object::deserialize(value).map(|Object(found)| Some(found))
}

/// What stands in a JSON object. Of serde alone a struct would also be read from an array of its members' values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

/// Verifies a token's form, type and signature (RFC 9068 section 4).
pub fn verify(keys: &SigningKeys, token: &str) -> Result<VerifiedToken, DenyReason> {
    let jws = CompactJws::parse(token).ok_or(DenyReason::TokenMalformed)?;
    let Object::<Header<'_>>(header) = serde_json::from_slice(&jws.header).map_err(|_| DenyReason::TokenMalformed)?;
    if header.crit.is_some() {
        return Err(DenyReason::TokenMalformed);
    }
    if !header.typ.is_some_and(|typ| is_access_token_type(&typ)) {
        return Err(DenyReason::TokenType);
    }
    let key = header.kid.and_then(|kid| keys.find(kid)).ok_or(DenyReason::UnknownKey)?;
    if header.alg != key.algorithm().name() {
        return Err(DenyReason::UnknownKey);
    }
    if !jws.is_signed_by(key.verifier()) {
        return Err(DenyReason::BadSignature);
    }
    let Object::<AccessTokenClaims>(claims) =
        serde_json::from_slice(&jws.payload).map_err(|_| DenyReason::TokenMalformed)?;
    let client_id = ClientId::parse(&claims.client_id);
    Ok(VerifiedToken { key_id: key.key_id().clone(), claims, client_id })
}

/// RFC 9068 section 4, with RFC 7515 section 4.1.9: media types have no case, and "application/" may be left out.
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}
