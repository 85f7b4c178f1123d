//! Valid and invalid JWT-SVIDs, and the keys that trust domains sign them with.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::EcdsaSigningAlgorithm;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RsaEncoding;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::Authority;
use lanyard::authority::trust::JwtAuthorities;
use serde_json::Value;
use serde_json::json;
use spiffe::TrustDomain;

use crate::support::NOW;

/// The lifetime of the JWT-SVIDs: five minutes, as SPIRE's default.
pub const GOOD_FOR: u64 = 300;

/// A private key that signs JWT-SVIDs.
pub struct JwtKey {
    pub kid: String,
    pub algorithm: String,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    EdDsa(Ed25519KeyPair),
}

impl JwtKey {
    /// A new P-256 key.
    pub fn new(kid: &str) -> Self {
        Self::of(kid, "ES256")
    }

    /// A new key for one of the nine algorithms of JWT-SVIDs, or for `EdDSA`.
    pub fn of(kid: &str, algorithm: &str) -> Self {
        let pair = match algorithm {
            "EdDSA" => Pair::EdDsa(Ed25519KeyPair::generate().unwrap()),
            "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        };
        Self { kid: kid.to_owned(), algorithm: algorithm.to_owned(), pair }
    }

    /// The public key as in a bundle document (JWT-SVID section 6.1).
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("jwt-svid");
        jwk
    }

    fn public(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                let crv = ["P-256", "P-384", "P-521"][[32, 48, 66].iter().position(|size| *size == x.len()).unwrap()];
                json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) })
            }
            Pair::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let [n, e] = [n, e].map(|part| encode(part.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Pair::EdDsa(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) }),
        }
    }

    /// The header of a JWT-SVID.
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" })
    }

    /// A JWT-SVID for one audience that is valid from now on.
    pub fn svid(&self, sub: &str, audience: &str) -> String {
        self.sign(&self.header().to_string(), &claims(sub, audience).to_string())
    }

    /// Signs any two texts as header and payload.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match self.algorithm.as_str() {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    other => panic!("{other}"),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    Pair::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap())
}

/// The claims of a JWT-SVID that is valid from now on.
pub fn claims(sub: &str, audience: &str) -> Value {
    json!({ "sub": sub, "aud": audience, "exp": NOW.0 + GOOD_FOR, "iat": NOW.0 })
}

/// Replaces the JWT authorities of a trust domain.
pub fn trust_jwks(authority: &Authority, trust_domain: &str, jwks: &[Value]) {
    let mut trust = authority.trust().as_ref().clone();
    let bundle = trust.trust_domains.get_mut(&TrustDomain::new(trust_domain).unwrap()).unwrap();
    bundle.jwt = JwtAuthorities::new(jwks);
    authority.replace_trust(trust);
}
