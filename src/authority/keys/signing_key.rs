//! A key that signs access tokens, and the interface to private keys.

use std::fmt;
use std::pin::Pin;
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

/// A signing algorithm. A key is used with exactly one (RFC 8725 section 3.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which RFC 9068 section 2.1 requires to be supported.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// The registered name of the algorithm. It is case-sensitive.
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

/// A private key, in this process or elsewhere.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The algorithm of the key.
    fn algorithm(&self) -> SigningAlgorithm;

    /// The public key, as a `SubjectPublicKeyInfo` in DER.
    fn public_key(&self) -> &[u8];

    /// Signs a whole message. The signature has the form that JWS requires: for ES256 `r || s`. A signature that takes
    /// long is not made on the calling thread, which serves other requests.
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;
}

/// A signature that is being made.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SigningFailed>> + Send + 'a>>;

/// Why there is no signature. No token is issued; which token it was for is not known here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SigningFailed {
    /// The key did not sign.
    #[error("the signing key did not sign")]
    Failed,
    /// Too many signatures are waited for already.
    #[error("too many signatures are waited for")]
    Busy,
    /// The hardware security module does not answer, or not in time.
    #[error("the hardware security module that holds the signing key does not answer")]
    Unavailable,
    /// The hardware security module answers, and does not have the key.
    #[error("the hardware security module does not hold the signing key")]
    NotHeld,
    /// The signature, or the new key, is not what it must be.
    #[error("the hardware security module has another key in the place of the signing key")]
    OtherKey,
    /// The key is in a hardware security module, and none is configured.
    #[error("the signing key is in a hardware security module, and keys.pkcs11 is not configured")]
    NotConfigured,
}

/// The RFC 7638 thumbprint of a signing key: its `kid`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(String);

impl KeyId {
    /// The `kid` that a record names. A key that is opened is compared with it.
    pub(in crate::authority) fn of_record(kid: &str) -> Self {
        Self(kid.to_owned())
    }

    /// The thumbprint as text, in base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One signing key with its precomputed `kid`, JWS header and JWK.
pub struct SigningKey {
    key_id: KeyId,
    jwk: PublicJwk,
    header: String,
    verifier: VerifyingKey,
    signer: Arc<dyn Signer>,
    made: Timestamp,
}

/// The public key has no JWK, or the verifier does not accept it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signing key's public key is of a kind that cannot be published")]
pub struct UnusableKey;

impl SigningKey {
    /// Wraps a private key that was made at `made`.
    pub fn new(signer: Arc<dyn Signer>, made: Timestamp) -> Result<Self, UnusableKey> {
        let jwk = PublicJwk::from_spki(signer.public_key()).ok_or(UnusableKey)?;
        let key_id = KeyId(jwk.thumbprint());
        // RFC 9068 section 2.1: typ is at+jwt, without "application/".
        let header = encoded_header(signer.algorithm(), &key_id, "at+jwt");
        let public = Value::Object(jwk.to_json());
        let verifier = VerifyingKey::from_jwk(signer.algorithm().verifies_as(), &public).ok_or(UnusableKey)?;
        Ok(Self { key_id, jwk, header, verifier, signer, made })
    }

    /// When the key was made.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// The `kid` of the key.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    /// The private key.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// The encoded header of every access token that the key signs.
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

    /// The key in a JWK Set.
    pub(in crate::authority) fn published(&self) -> Value {
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
