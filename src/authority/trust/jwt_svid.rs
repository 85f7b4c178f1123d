//! JWT-SVIDs (the SPIFFE standard of that name). Only the keys of the subject's own trust domain prove one. They are
//! never accepted as access tokens, and access tokens never as JWT-SVIDs.

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

/// How many keys are tried where the JWT-SVID has no `kid`.
const MAX_KEYS_TRIED: usize = 16;

/// A JWT-SVID with a valid signature and valid claims.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtSvid {
    spiffe_id: SpiffeId,
}

impl JwtSvid {
    /// The SPIFFE ID of the workload that it identifies.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

/// Why a JWT is not a valid JWT-SVID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidJwtSvid {
    /// The token is not three parts of base64url, is too long, or is not made of JSON objects with each member once.
    #[error("not a compact JWS of two JSON objects")]
    Malformed,
    /// The header has another member than `alg`, `kid` and `typ` (JWT-SVID section 2), or one of another JSON type.
    #[error("the header has a member that a JWT-SVID does not have")]
    Header,
    /// `typ` is not JWT or JOSE (JWT-SVID section 2.3).
    #[error("the header's typ is of another kind of token")]
    Type,
    /// `alg` is not one of the nine of JWT-SVID section 2.1.
    #[error("the algorithm is not one of JWT-SVIDs")]
    Algorithm,
    /// `sub` is missing, or is not the SPIFFE ID of a workload.
    #[error("sub is not the SPIFFE ID of a workload")]
    Subject,
    /// `aud` is missing, or is anything but this issuer alone.
    #[error("aud is not this issuer alone")]
    Audience,
    /// `exp` or `nbf` is not an integer, or `exp` is missing.
    #[error("exp is missing, or exp or nbf is not an integer")]
    Times,
    /// The time is at or after `exp`.
    #[error("it has expired")]
    Expired,
    /// The time is before `nbf`.
    #[error("it is not valid yet")]
    NotYetValid,
    /// There is no bundle for the trust domain of the subject.
    #[error("the trust domain of the subject is not known")]
    UnknownTrustDomain,
    /// The bundle has not been confirmed for too long.
    #[error("the bundle of the subject's trust domain has not been confirmed for too long")]
    StaleBundle,
    /// The bundle has no key for JWT-SVIDs that fits the algorithm, and the `kid` if there is one.
    #[error("the trust domain of the subject has no such key")]
    UnknownKey,
    /// The signature is not by such a key.
    #[error("the signature is wrong")]
    Signature,
}

impl TrustBundles {
    /// Validates a JWT-SVID that is for `audience` alone (draft-ietf-oauth-spiffe-client-auth section 3.1). `iss` and
    /// `jti` are ignored (JWT-SVID section 7.1). A header with a key in it is refused, because a JWT-SVID has no such
    /// member.
    pub fn prove_jwt_svid(&self, token: &str, audience: &str, now: Timestamp) -> Result<JwtSvid, InvalidJwtSvid> {
        let jws = CompactJws::parse(token).ok_or(InvalidJwtSvid::Malformed)?;
        let header = Header::read(object(&jws.header)?)?;
        let claims = object(&jws.payload)?;
        let spiffe_id = subject(&claims).ok_or(InvalidJwtSvid::Subject)?;
        check_times(&claims, now)?;
        if sole_audience(&claims) != Some(audience) {
            return Err(InvalidJwtSvid::Audience);
        }
        let keys = header.keys(self.jwt_authorities_of(&spiffe_id, now)?);
        if keys.is_empty() {
            return Err(InvalidJwtSvid::UnknownKey);
        }
        if keys.iter().any(|key| jws.is_signed_by(key)) {
            Ok(JwtSvid { spiffe_id })
        } else {
            Err(InvalidJwtSvid::Signature)
        }
    }

    /// The JWT-SVID that the holder of a SPIFFE ID is supposed to have, if a key of its trust domain could prove one.
    pub(in crate::authority) fn supposed_jwt_svid(
        &self,
        spiffe_id: &SpiffeId,
        now: Timestamp,
    ) -> Result<JwtSvid, InvalidJwtSvid> {
        let mut keys = self.jwt_authorities_of(spiffe_id, now)?.all();
        keys.next().map(|_| JwtSvid { spiffe_id: spiffe_id.clone() }).ok_or(InvalidJwtSvid::UnknownKey)
    }

    /// The keys of the bundle that proves the JWT-SVIDs of a SPIFFE ID.
    fn jwt_authorities_of(&self, id: &SpiffeId, now: Timestamp) -> Result<&JwtAuthorities, InvalidJwtSvid> {
        let bundle = self.trust_domains.get(id.trust_domain()).ok_or(InvalidJwtSvid::UnknownTrustDomain)?;
        if bundle.is_stale(now) { Err(InvalidJwtSvid::StaleBundle) } else { Ok(&bundle.jwt) }
    }
}

/// The one algorithm of the header, and its `kid`, if it has one.
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
                // The comparison is case-sensitive, as JWT-SVID section 2.3 spells them.
                "typ" if matches!(text.as_str(), "JWT" | "JOSE") => {}
                "typ" => return Err(InvalidJwtSvid::Type),
                _ => return Err(InvalidJwtSvid::Header),
            }
        }
        let named = algorithm.ok_or(InvalidJwtSvid::Algorithm)?;
        let algorithm = ALGORITHMS.into_iter().find(|known| known.name() == named).ok_or(InvalidJwtSvid::Algorithm)?;
        Ok(Self { algorithm, key_id })
    }

    /// The keys that may have signed the token.
    fn keys(&self, authorities: &JwtAuthorities) -> Vec<VerifyingKey> {
        let key = |jwk| key(self.algorithm, jwk);
        match &self.key_id {
            Some(key_id) => authorities.find(key_id).and_then(key).into_iter().collect(),
            None => authorities.all().filter_map(|(_, jwk)| key(jwk)).take(MAX_KEYS_TRIED).collect(),
        }
    }
}

/// The algorithms of JWT-SVID section 2.1.
pub(super) const ALGORITHMS: [Algorithm; 9] = [
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

/// The key in a JWK, if it is for JWT-SVIDs and for this algorithm. A JWK without `use` is accepted: the Workload API
/// returns such JWKs.
fn key(algorithm: Algorithm, jwk: &Value) -> Option<VerifyingKey> {
    let fits = |name: &str, wanted: &str| jwk.get(name).is_none_or(|found| found.as_str() == Some(wanted));
    if fits("use", "jwt-svid") && fits("alg", algorithm.name()) { VerifyingKey::from_jwk(algorithm, jwk) } else { None }
}

fn subject(claims: &Map<String, Value>) -> Option<SpiffeId> {
    parse_spiffe_id(claims.get("sub")?.as_str()?).filter(|id| !id.path().is_empty())
}

/// The one audience, as text or as an array of one.
pub(super) fn sole_audience(claims: &Map<String, Value>) -> Option<&str> {
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

/// Parses one part of a JWS: a JSON object with each member once.
fn object(json: &[u8]) -> Result<Map<String, Value>, InvalidJwtSvid> {
    let Members(members) = serde_json::from_slice(json).map_err(|_| InvalidJwtSvid::Malformed)?;
    Ok(members)
}

/// The members of a JSON object. By default serde would use the last of two members with the same name.
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
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Members(read))
    }
}
