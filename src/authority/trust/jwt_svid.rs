//! JWT-SVIDs (the SPIFFE standard of that name): proven by the keys of the trust domain that the subject is of, and by no
//! others. They are never taken for access tokens, nor these for them.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Value;
use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::keys::Algorithm;
use crate::authority::keys::CompactJws;
use crate::authority::keys::VerifyingKey;
use crate::authority::trust::bundles::TrustBundles;
use crate::authority::trust::jwt_authorities::JwtAuthorities;

/// How many keys are tried where the SVID names none.
const MAX_KEYS_TRIED: usize = 16;

/// A JWT-SVID that was proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtSvid {
    spiffe_id: SpiffeId,
}

impl JwtSvid {
    /// Whose it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

/// Why a JWT proves nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidJwtSvid {
    /// Not three parts of base64url, or too many bytes, or no JSON objects with each member once.
    #[error("not a compact JWS of two JSON objects")]
    Malformed,
    /// Another member than `alg`, `kid` and `typ` (JWT-SVID section 2), or one of another JSON type.
    #[error("the header has a member that a JWT-SVID does not have")]
    Header,
    /// Not JWT or JOSE (JWT-SVID section 2.3).
    #[error("the header's typ is of another kind of token")]
    Type,
    /// None of the nine of JWT-SVID section 2.1.
    #[error("the algorithm is not one of JWT-SVIDs")]
    Algorithm,
    /// `sub` is missing, or no SPIFFE ID of a workload.
    #[error("sub is not the SPIFFE ID of a workload")]
    Subject,
    /// `aud` is missing, or is anything but this issuer alone.
    #[error("aud is not this issuer alone")]
    Audience,
    /// `exp` or `nbf` is no integer, or `exp` is missing.
    #[error("exp is missing, or exp or nbf is not an integer")]
    Times,
    /// Past `exp`.
    #[error("it has expired")]
    Expired,
    /// Before `nbf`.
    #[error("it is not good yet")]
    NotYetValid,
    /// No bundle is known for the trust domain of the subject.
    #[error("the trust domain of the subject is not known")]
    UnknownTrustDomain,
    /// The bundle has not been confirmed for too long.
    #[error("the bundle of the subject's trust domain has not been confirmed for too long")]
    StaleBundle,
    /// No key for JWT-SVIDs in the bundle that has the `kid`, if there is one, and fits the algorithm.
    #[error("the trust domain of the subject has no such key")]
    UnknownKey,
    /// Not the signature of such a key.
    #[error("the signature is wrong")]
    Signature,
}

impl TrustBundles {
    /// Proves a JWT-SVID that is for `audience` and for nobody else (draft-ietf-oauth-spiffe-client-auth section 3.1).
    /// `iss` and `jti` are not looked at (JWT-SVID section 7.1), nor keys that the header brings along: such a header is
    /// none of a JWT-SVID.
    pub fn prove_jwt_svid(&self, token: &str, audience: &str, now: Timestamp) -> Result<JwtSvid, InvalidJwtSvid> {
        let jws = CompactJws::parse(token).ok_or(InvalidJwtSvid::Malformed)?;
        let header = Header::read(object(&jws.header)?)?;
        let claims = object(&jws.payload)?;
        let spiffe_id = subject(&claims).ok_or(InvalidJwtSvid::Subject)?;
        check_times(&claims, now)?;
        if sole_audience(&claims) != Some(audience) {
            return Err(InvalidJwtSvid::Audience);
        }
        let bundle = self.trust_domains.get(spiffe_id.trust_domain()).ok_or(InvalidJwtSvid::UnknownTrustDomain)?;
        if bundle.is_stale(now) {
            return Err(InvalidJwtSvid::StaleBundle);
        }
        let keys = header.keys(&bundle.jwt);
        if keys.is_empty() {
            return Err(InvalidJwtSvid::UnknownKey);
        }
        if keys.iter().any(|key| jws.is_signed_by(key)) {
            Ok(JwtSvid { spiffe_id })
        } else {
            Err(InvalidJwtSvid::Signature)
        }
    }
}

/// The one algorithm that the header names, and the key, if it names one.
struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Header {
    fn read(members: Map<String, Value>) -> Result<Self, InvalidJwtSvid> {
        let (mut algorithm, mut key_id) = (None, None);
        for (name, value) in members {
            let Value::String(text) = value else { return Err(InvalidJwtSvid::Header) };
            match name.as_str() {
                "alg" => algorithm = Some(text),
                "kid" => key_id = Some(text),
                // Compared with case, as JWT-SVID section 2.3 spells them.
                "typ" if matches!(text.as_str(), "JWT" | "JOSE") => {}
                "typ" => return Err(InvalidJwtSvid::Type),
                _ => return Err(InvalidJwtSvid::Header),
            }
        }
        let named = algorithm.ok_or(InvalidJwtSvid::Algorithm)?;
        let algorithm = ALGORITHMS.into_iter().find(|known| known.name() == named).ok_or(InvalidJwtSvid::Algorithm)?;
        Ok(Self { algorithm, key_id })
    }

    /// The keys that may have signed.
    fn keys(&self, authorities: &JwtAuthorities) -> Vec<VerifyingKey> {
        let key = |jwk| key(self.algorithm, jwk);
        match &self.key_id {
            Some(key_id) => authorities.find(key_id).and_then(key).into_iter().collect(),
            None => authorities.all().filter_map(|(_, jwk)| key(jwk)).take(MAX_KEYS_TRIED).collect(),
        }
    }
}

/// The algorithms of JWT-SVID section 2.1.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];

/// The key in a JWK, if it is one for JWT-SVIDs and for this algorithm. A JWK without `use` is what it was taken for: the
/// Workload API gives such ones.
fn key(algorithm: Algorithm, jwk: &Value) -> Option<VerifyingKey> {
    let fits = |name: &str, wanted: &str| jwk.get(name).is_none_or(|found| found.as_str() == Some(wanted));
    if fits("use", "jwt-svid") && fits("alg", algorithm.name()) { VerifyingKey::from_jwk(algorithm, jwk) } else { None }
}

fn subject(claims: &Map<String, Value>) -> Option<SpiffeId> {
    parse_spiffe_id(claims.get("sub")?.as_str()?).filter(|id| !id.path().is_empty())
}

/// The one audience, as text or as an array of one.
fn sole_audience(claims: &Map<String, Value>) -> Option<&str> {
    match claims.get("aud")? {
        Value::String(one) => Some(one),
        Value::Array(several) => match several.as_slice() {
            [Value::String(one)] => Some(one),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), InvalidJwtSvid> {
    let seconds = |value: &Value| value.as_u64().map(Timestamp).ok_or(InvalidJwtSvid::Times);
    let expires = claims.get("exp").ok_or(InvalidJwtSvid::Times).and_then(seconds)?;
    let not_before = claims.get("nbf").map(seconds).transpose()?;
    if now >= expires {
        Err(InvalidJwtSvid::Expired)
    } else if not_before.is_some_and(|not_before| now < not_before) {
        Err(InvalidJwtSvid::NotYetValid)
    } else {
        Ok(())
    }
}

/// One part of a JWS: a JSON object, each member once.
fn object(json: &[u8]) -> Result<Map<String, Value>, InvalidJwtSvid> {
    let Members(members) = serde_json::from_slice(json).map_err(|_| InvalidJwtSvid::Malformed)?;
    Ok(members)
}

/// The members of a JSON object. Of serde alone the last of two with one name would count.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
        let mut read = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if read.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Members(read))
    }
}
