//! The keys that access tokens are signed with, and the port behind which private keys live.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Timestamp;
use crate::authority::keys::jwk::PublicJwk;
use crate::authority::keys::jws::Algorithm;
use crate::authority::keys::jws::VerifyingKey;

/// What a key signs with. A key signs with one algorithm and no other (RFC 8725 section 3.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which RFC 9068 section 2.1 wants supported.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// The registered name, case-sensitive.
    pub fn name(self) -> &'static str {
        self.verifies_as().name()
    }

    fn verifies_as(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::Es256,
            Self::Rs256 => Algorithm::Rs256,
            Self::EdDsa => Algorithm::EdDsa,
        }
    }
}

/// A private key, wherever it lives.
pub trait Signer: fmt::Debug + Send + Sync {
    /// What it signs with.
    fn algorithm(&self) -> SigningAlgorithm;

    /// Its public key, as a `SubjectPublicKeyInfo` in DER.
    fn public_key(&self) -> &[u8];

    /// Signs a message whole. The signature has the form that JWS wants: for ES256 `r || s`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed>;
}

/// The key did not sign. Which token it was for is not known here, and no token comes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signing key did not sign")]
pub struct SigningFailed;

/// The RFC 7638 thumbprint of a signing key: its `kid`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(String);

impl KeyId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One signing key with all that can be worked out once: its `kid`, its JWS header, its JWK.
pub struct SigningKey {
    key_id: KeyId,
    jwk: PublicJwk,
    header: String,
    verifier: VerifyingKey,
    signer: Arc<dyn Signer>,
    made: Option<Timestamp>,
}

/// A public key that has no JWK, or that the verifier does not take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signing key's public key is of a kind that cannot be published")]
pub struct UnusableKey;

impl SigningKey {
    /// Wraps a private key.
    pub fn new(signer: Arc<dyn Signer>) -> Result<Self, UnusableKey> {
        let jwk = PublicJwk::from_spki(signer.public_key()).ok_or(UnusableKey)?;
        let key_id = KeyId(jwk.thumbprint());
        // RFC 9068 section 2.1: typ is at+jwt, without "application/".
        let header = encoded_header(signer.algorithm(), &key_id, "at+jwt");
        let public = Value::Object(jwk.to_json());
        let verifier = VerifyingKey::from_jwk(signer.algorithm().verifies_as(), &public).ok_or(UnusableKey)?;
        Ok(Self { key_id, jwk, header, verifier, signer, made: None })
    }

    /// The same key, made at this moment.
    #[must_use]
    pub fn made_at(self, made: Timestamp) -> Self {
        Self { made: Some(made), ..self }
    }

    /// When it was made, where that is known.
    pub fn made(&self) -> Option<Timestamp> {
        self.made
    }

    /// Its `kid`.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What it signs with.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    /// The private key.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// The encoded header of every token that it signs.
    pub(in crate::authority) fn header(&self) -> &str {
        &self.header
    }

    /// The encoded header of another kind of JWT.
    pub(in crate::authority) fn header_of(&self, typ: &str) -> String {
        encoded_header(self.algorithm(), &self.key_id, typ)
    }

    /// The public key, with this key's algorithm.
    pub(in crate::authority) fn verifier(&self) -> &VerifyingKey {
        &self.verifier
    }

    fn published(&self) -> Value {
        let mut members = self.jwk.to_json();
        members.insert("alg".to_owned(), Value::from(self.algorithm().name()));
        members.insert("kid".to_owned(), Value::from(self.key_id.as_str()));
        members.insert("use".to_owned(), Value::from("sig"));
        Value::Object(members)
    }
}

fn encoded_header(algorithm: SigningAlgorithm, key_id: &KeyId, typ: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm.name(), "kid": key_id.as_str(), "typ": typ }).to_string())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The signing keys at one moment: one that signs, and others whose tokens are still good.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    active: Arc<SigningKey>,
    retired: Vec<Arc<SigningKey>>,
}

impl SigningKeys {
    /// The key that signs, and those that only verify.
    pub fn new(active: SigningKey, retired: Vec<SigningKey>) -> Self {
        Self { active: Arc::new(active), retired: retired.into_iter().map(Arc::new).collect() }
    }

    /// The key that signs.
    pub fn active(&self) -> &SigningKey {
        &self.active
    }

    /// The key with this `kid`, found by the exact text and in this ring only: a `kid` is no path and no query
    /// (RFC 8725 section 3.10).
    pub fn find(&self, key_id: &str) -> Option<&SigningKey> {
        std::iter::once(&self.active).chain(&self.retired).find(|key| key.key_id.as_str() == key_id).map(|key| &**key)
    }

    /// The public keys as a JWK Set (RFC 7517 section 5).
    pub fn jwks(&self) -> String {
        let keys: Vec<Value> = std::iter::once(&self.active).chain(&self.retired).map(|key| key.published()).collect();
        json!({ "keys": keys }).to_string()
    }
}
