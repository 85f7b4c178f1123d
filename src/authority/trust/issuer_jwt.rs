//! JWTs of trusted issuers, and these as client assertions (RFC 7523 section 3, draft-ietf-oauth-rfc7523bis), above all the tokens of
//! Kubernetes service accounts. Only the keys of the issuer that `iss` names prove one. Access tokens, JWT-SVIDs and other
//! kinds are not accepted as such, nor such a JWT as one of them.

use std::sync::Arc;

use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::json;
use crate::authority::keys::Algorithm;
use crate::authority::keys::CompactJws;
use crate::authority::keys::VerifyingKey;
use crate::authority::registration::RegisteredClaims;
use crate::authority::trust::bundles::TrustBundles;
use crate::authority::trust::issuer_keys::IssuerKeys;
use crate::authority::trust::issuer_keys::TrustedIssuer;
use crate::authority::trust::jwt_svid::ALGORITHMS;
use crate::authority::trust::jwt_svid::sole_audience;

/// How many seconds `iat` and `nbf` may be in the future: the issuer's clock is another one. `exp` has no leeway.
const LEEWAY: u64 = 5;

/// The longest `jti` that identifies an assertion, in bytes.
const MAX_JTI_BYTES: usize = 1024;

/// The media types, as `typ`, of JWTs that may be client assertions. The tokens of Kubernetes have none.
const TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// The members that a header may have. One with a key in it, or with a place to fetch one from, is refused.
const HEADER_MEMBERS: [&str; 5] = ["alg", "kid", "typ", "x5t", "x5t#S256"];

/// A JWT with a valid signature by a trusted issuer and valid claims.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerJwt {
    issuer: String,
    subject: String,
    claims: Value,
    digest: [u8; 32],
    expires: Timestamp,
}

impl IssuerJwt {
    /// The issuer, `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The subject, `sub`, which means something together with the issuer only.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether it is an assertion of the client that has registered these claims. Each is compared as text: one of another
    /// JSON type is another one.
    pub fn is_of(&self, registered: &RegisteredClaims) -> bool {
        let text_at = |pointer: &str| self.claims.pointer(pointer).and_then(Value::as_str);
        let is_same = |(pointer, text): (&String, &String)| text_at(pointer) == Some(text.as_str());
        self.issuer == registered.issuer && self.subject == registered.subject && registered.claims.iter().all(is_same)
    }

    /// What tells it from every other: a hash of its issuer and `jti`, or of all that is signed where it has none.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The first moment at which it is no longer valid.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    #[cfg(test)]
    pub(super) fn unproven(digest: [u8; 32], expires: Timestamp) -> Self {
        Self { issuer: String::new(), subject: String::new(), claims: Value::Null, digest, expires }
    }
}

/// Why a JWT is not a valid assertion of a trusted issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIssuerJwt {
    /// The token is not three parts of base64url, is too long, or is not made of JSON objects with each member once.
    #[error("not a compact JWS of two JSON objects")]
    Malformed,
    /// The header has a member that no assertion needs, such as `jku` or `jwk`, or one of another JSON type.
    #[error("the header has a member that such an assertion does not have")]
    Header,
    /// `typ` is that of another kind of token.
    #[error("the header's typ is of another kind of token")]
    Type,
    /// `alg` is not an asymmetric algorithm that is accepted.
    #[error("the algorithm is not an asymmetric one that is accepted")]
    Algorithm,
    /// `iss` is missing, or is not that of a trusted issuer.
    #[error("iss is not one of trusted_issuers")]
    UnknownIssuer,
    /// The issuer has no key, or its keys have not been confirmed for too long.
    #[error("the keys of the issuer are not known, or have not been confirmed for too long")]
    NoKeys,
    /// `sub` is missing, is not text, or has characters that no name here has.
    #[error("sub is missing, or has characters that no name here has")]
    Subject,
    /// `sub` is a SPIFFE ID: the token is a JWT-SVID, or would pass for one.
    #[error("sub is a SPIFFE ID: only its trust domain may say so, in a JWT-SVID")]
    SpiffeId,
    /// `aud` is missing, or is anything but the expected audience alone.
    #[error("aud is not the audience of this issuer's entry alone")]
    Audience,
    /// `exp` or `iat` is missing, or one of the times is not an integer.
    #[error("exp or iat is missing, or a time is not an integer")]
    Times,
    /// The time from `iat` to `exp` is longer than the issuer's entry permits.
    #[error("the time from iat to exp is longer than max_age")]
    TooLong,
    /// The time is at or after `exp`.
    #[error("it has expired")]
    Expired,
    /// The time is before `nbf`, or before `iat`.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It is bound to a key (`cnf`) that nobody can prove here, or is not bound where it has to be.
    #[error("it is bound to a key by cnf in a way that is not proven here, or is not bound where it has to be")]
    Bound,
    /// It is said to be of a type that is not accepted of its issuer.
    #[error("it is said to be of a type that is not accepted of its issuer")]
    Kind,
    /// The claim with its scopes is not a list of scopes.
    #[error("the claim with its scopes is not a list of scopes")]
    Scope,
    /// `act` or `may_act` is not what RFC 8693 says of it.
    #[error("act or may_act is no object with a sub, or names too many actors")]
    Actor,
    /// `client_id` or `jti` is missing, or is not text.
    #[error("client_id or jti is missing")]
    Identifier,
    /// The issuer has no key with this `kid` for this algorithm.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// The signature is not by that key.
    #[error("the signature is wrong")]
    Signature,
}

impl TrustBundles {
    /// Validates a client assertion by the issuer that it names.
    pub fn prove_issuer_jwt(&self, token: &str, now: Timestamp) -> Result<IssuerJwt, InvalidIssuerJwt> {
        let proven = self.prove_jwt(token, now, |trusted, typ| {
            let is_known = |typ: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
            if !typ.is_none_or(is_known) {
                return Err(InvalidIssuerJwt::Type);
            }
            let proves = trusted.is_none_or(TrustedIssuer::proves_clients);
            if proves { Ok(()) } else { Err(InvalidIssuerJwt::UnknownIssuer) }
        })?;
        let ProvenJwt { trusted, claims, subject, digest, expires, .. } = proven;
        if is_spiffe_uri(&subject) {
            return Err(InvalidIssuerJwt::SpiffeId);
        }
        if claims.get("cnf").is_some() {
            return Err(InvalidIssuerJwt::Bound);
        }
        let issuer = trusted.issuer.clone();
        Ok(IssuerJwt { issuer, subject, claims: Value::Object(claims), digest, expires })
    }

    /// Validates what all JWTs of trusted issuers have in common, by the issuer that it names. Before the signature is verified, its
    /// claims only refuse it, and choose the key. `admits` says whether one of this issuer, if it is known, may have this `typ`.
    pub(super) fn prove_jwt(
        &self,
        token: &str,
        now: Timestamp,
        admits: impl Fn(Option<&TrustedIssuer>, Option<&str>) -> Result<(), InvalidIssuerJwt>,
    ) -> Result<ProvenJwt<'_>, InvalidIssuerJwt> {
        let jws = CompactJws::parse(token).ok_or(InvalidIssuerJwt::Malformed)?;
        let Header { algorithm, key_id, typ } = read_header(&object(&jws.header)?)?;
        let claims = object(&jws.payload)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let found = text("iss").and_then(|issuer| self.issuers.get(issuer));
        admits(found.map(|keys| &*keys.trusted), typ.as_deref())?;
        let IssuerKeys { trusted, keys, .. } = found.ok_or(InvalidIssuerJwt::UnknownIssuer)?;
        if found.is_none_or(|found| !found.are_usable(now)) {
            return Err(InvalidIssuerJwt::NoKeys);
        }
        let endpoint = trusted.grant_terms().map(|terms| terms.token_endpoint.as_str());
        let audience = sole_audience(&claims);
        if audience.is_none() || audience != Some(trusted.audience.as_str()) && audience != endpoint {
            return Err(InvalidIssuerJwt::Audience);
        }
        let (issued, expires) = check_times(&claims, trusted, now)?;
        let subject = text("sub").ok_or(InvalidIssuerJwt::Subject)?.to_owned();
        let jwk = key_id.as_deref().and_then(|key_id| keys.find(key_id));
        let key = jwk.and_then(|jwk| key_of(algorithm, jwk)).ok_or(InvalidIssuerJwt::UnknownKey)?;
        if !jws.is_signed_by(&key) {
            return Err(InvalidIssuerJwt::Signature);
        }
        let jti = text("jti").filter(|jti| jti.len() <= MAX_JTI_BYTES);
        let digest =
            jti.map_or_else(|| digest_of(["", jws.signing_input()]), |jti| digest_of([trusted.issuer.as_str(), jti]));
        Ok(ProvenJwt { trusted, subject, claims, digest, issued, expires })
    }
}

/// A JWT with a valid signature by a trusted issuer, and the claims that all have.
pub(super) struct ProvenJwt<'a> {
    pub(super) trusted: &'a Arc<TrustedIssuer>,
    /// `sub`.
    pub(super) subject: String,
    pub(super) claims: Members,
    /// What tells it from every other.
    pub(super) digest: [u8; 32],
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
}

impl TrustBundles {
    /// Whether an issuer is configured to authenticate clients, and its keys can prove assertions.
    pub fn trusts_issuer(&self, issuer: &str, now: Timestamp) -> bool {
        self.issuers.get(issuer).is_some_and(|keys| keys.trusted.proves_clients() && keys.are_usable(now))
    }

    /// Whether an issuer is configured to say for whom requests are made, and its keys can prove that.
    pub fn trusts_subjects_of(&self, issuer: &str, now: Timestamp) -> bool {
        self.issuers.get(issuer).is_some_and(|keys| !keys.trusted.proves_clients() && keys.are_usable(now))
    }

    /// Whether some issuer authenticates clients, so that a connection with any certificate may ask for a token.
    pub fn authenticates_by_issuers(&self) -> bool {
        self.issuers.values().any(|keys| keys.trusted.proves_clients())
    }

    /// The assertion that a client is supposed to have, if a key of its issuer could prove one.
    pub(in crate::authority) fn supposed_issuer_jwt(
        &self,
        registered: &RegisteredClaims,
        now: Timestamp,
    ) -> Result<IssuerJwt, InvalidIssuerJwt> {
        let keys = self.issuers.get(&registered.issuer).ok_or(InvalidIssuerJwt::UnknownIssuer)?;
        if !keys.are_usable(now) {
            return Err(InvalidIssuerJwt::NoKeys);
        }
        let mut claims = Value::Object(Members::new());
        for (pointer, text) in &registered.claims {
            put(&mut claims, pointer, text);
        }
        let (issuer, subject) = (registered.issuer.clone(), registered.subject.clone());
        Ok(IssuerJwt { issuer, subject, claims, digest: [0; 32], expires: now.after(keys.trusted.max_age) })
    }
}

/// Puts a text where a JSON Pointer leads.
fn put(claims: &mut Value, pointer: &str, text: &str) {
    let mut place = claims;
    for name in pointer.split('/').skip(1) {
        // RFC 6901 section 4: in this order.
        let name = name.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = Value::Object(Members::new());
        }
        let Value::Object(members) = place else { return };
        place = members.entry(name).or_insert(Value::Null);
    }
    *place = Value::from(text);
}

/// What counts of a header.
struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
    typ: Option<String>,
}

fn read_header(header: &Members) -> Result<Header, InvalidIssuerJwt> {
    let known = |(name, value): (&String, &Value)| HEADER_MEMBERS.contains(&name.as_str()) && value.is_string();
    if !header.iter().all(known) {
        return Err(InvalidIssuerJwt::Header);
    }
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let algorithm = ALGORITHMS.into_iter().find(|known| Some(known.name()) == text("alg"));
    let [key_id, typ] = ["kid", "typ"].map(|name| text(name).map(ToOwned::to_owned));
    Ok(Header { algorithm: algorithm.ok_or(InvalidIssuerJwt::Algorithm)?, key_id, typ })
}

/// Returns `iat` and `exp`.
fn check_times(
    claims: &Members,
    trusted: &TrustedIssuer,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), InvalidIssuerJwt> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(|seconds| Some(Timestamp(seconds))).ok_or(InvalidIssuerJwt::Times),
    };
    let (expires, issued) = time("exp")?.zip(time("iat")?).ok_or(InvalidIssuerJwt::Times)?;
    let not_before = time("nbf")?.unwrap_or_default();
    if expires > issued.after(trusted.max_age) {
        return Err(InvalidIssuerJwt::TooLong);
    }
    if now >= expires {
        return Err(InvalidIssuerJwt::Expired);
    }
    if issued.max(not_before).0 > now.0.saturating_add(LEEWAY) {
        return Err(InvalidIssuerJwt::NotYetValid);
    }
    Ok((issued, expires))
}

/// The key in a JWK, if it is one for this algorithm (RFC 8725 section 3.1).
fn key_of(algorithm: Algorithm, jwk: &Value) -> Option<VerifyingKey> {
    let fits = jwk.get("alg").is_none_or(|named| named.as_str() == Some(algorithm.name()));
    if fits { VerifyingKey::from_jwk(algorithm, jwk) } else { None }
}

pub(super) type Members = serde_json::Map<String, Value>;

pub(super) fn object(json: &[u8]) -> Result<Members, InvalidIssuerJwt> {
    match json::parse(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(InvalidIssuerJwt::Malformed),
    }
}

/// A hash of two texts, of which no other two have the same.
fn digest_of([first, second]: [&str; 2]) -> [u8; 32] {
    let length = first.len().to_be_bytes();
    Sha256::digest([&length[..], first.as_bytes(), second.as_bytes()].concat()).into()
}
