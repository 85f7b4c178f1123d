//! Transaction tokens: what a call is for, along all the services that it goes through. They are not bound to a certificate, and so
//! are no proof of who calls; their type keeps them from being taken for access tokens.
//!
//! The names are those of draft-ietf-oauth-transaction-tokens, the editor's copy of 6 July 2026. They are in this file alone.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::json::Object;
use crate::authority::json::object;
use crate::authority::keys::KeyId;
use crate::authority::keys::SigningKeys;
use crate::authority::scope::Scope;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::Ancestry;
use crate::authority::tokens::delegation::ParsedAncestor;
use crate::authority::tokens::jws::MAX_TOKEN_BYTES;
use crate::authority::tokens::jws::NotSigned;
use crate::authority::tokens::jws::sign_as;
use crate::authority::tokens::jws::verified_payload;

/// The `typ` of the JWS header (section 9.1).
const TYPE: &str = "txntoken+jwt";

/// The claims of a transaction token (section 9.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TxnTokenClaims {
    /// The server's issuer identifier.
    pub iss: String,
    /// The time of issue.
    pub iat: Timestamp,
    /// The first second in which it is no longer valid. Nothing outlives what it comes from.
    pub exp: Timestamp,
    /// The trust domain.
    pub aud: String,
    /// The transaction's identifier: 128 bits as base64url.
    pub txn: String,
    /// Whom the transaction is for: a `client_id`.
    pub sub: String,
    /// What it is for: space-separated scopes of the trust domain, one at least.
    pub scope: String,
    /// The workload that asked for this token: a `client_id`.
    pub req_wl: String,
    /// What is authorized: parameters of the call.
    #[serde(default, deserialize_with = "strict_object", skip_serializing_if = "Map::is_empty")]
    pub tctx: Map<String, Value>,
    /// The circumstances of the request.
    #[serde(default, deserialize_with = "strict_object", skip_serializing_if = "Map::is_empty")]
    pub rctx: Map<String, Value>,
    /// Who acts for the subject, where what was presented said so.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub act: Option<Actors>,
    /// What it comes from, the first one first: what ends one of these ends its replacement.
    #[serde(default, skip_serializing_if = "Ancestry::is_empty")]
    pub lanyard_from: Ancestry,
    /// The workloads that asked for the tokens which this one replaces, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanyard_call_chain: Vec<String>,
}

/// A transaction token whose signature verified with one of this server's keys. Its time is not checked yet.
#[derive(Debug)]
pub struct VerifiedTxnToken {
    /// The claims.
    pub claims: TxnTokenClaims,
    /// Its scopes.
    pub scope: Scope,
    /// What it comes from.
    pub ancestors: Box<[ParsedAncestor]>,
    /// The key that its signature verified with.
    pub key_id: KeyId,
}

fn strict_object<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Map<String, Value>, D::Error> {
    Object::<Map<String, Value>>::deserialize(value).map(|Object(members)| members)
}

/// Signs the claims, with the key that signs.
pub async fn sign_txn_token(keys: &SigningKeys, claims: &TxnTokenClaims) -> Result<String, NotSigned> {
    let token = sign_as(keys, TYPE, claims).await?;
    if token.len() > MAX_TOKEN_BYTES { Err(NotSigned::TooLarge) } else { Ok(token) }
}

/// Verifies the form, type and signature of a transaction token.
pub fn verify_txn_token(keys: &SigningKeys, token: &str) -> Result<VerifiedTxnToken, DenyReason> {
    let (key, payload) = verified_payload(keys, token, |typ| {
        typ.eq_ignore_ascii_case(TYPE) || typ.eq_ignore_ascii_case("application/txntoken+jwt")
    })?;
    let Object::<TxnTokenClaims>(claims) = serde_json::from_slice(&payload).map_err(|_| DenyReason::TokenMalformed)?;
    let scope = Scope::parse(&claims.scope).map_err(|_| DenyReason::TokenMalformed)?;
    let ancestors = claims.lanyard_from.0.iter().map(ParsedAncestor::of).collect::<Option<Box<[_]>>>();
    // Each one comes from something that can end.
    let ancestors = ancestors.filter(|ancestors| !ancestors.is_empty()).ok_or(DenyReason::TokenMalformed)?;
    Ok(VerifiedTxnToken { claims, scope, ancestors, key_id: key.key_id().clone() })
}
