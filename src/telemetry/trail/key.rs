//! The key that signs the last hash of a chain, and nothing else.

use std::fs;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::telemetry::trail::config::TrailError;

/// The beginning of a `SubjectPublicKeyInfo` of a key on P-256 (RFC 5480). The uncompressed point follows.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The text that is signed for the last hash of a chain.
fn signed_text(chain: &str, sequence: u64, hash: &str) -> String {
    format!("lanyard audit head 1\n{chain}\n{sequence}\n{hash}\n")
}

/// A public key on P-256.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// The uncompressed point: a byte 4 and the two coordinates, 32 bytes each.
    point: Vec<u8>,
    /// The hash of the point.
    name: String,
}

/// A JWK Set (RFC 7517 section 5) of public keys on P-256 (RFC 7518 section 6.2.1).
#[derive(Deserialize, Serialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize, Serialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    alg: String,
    #[serde(default, rename = "use")]
    use_: String,
}

/// A JWK Set with the public key, if there is one.
pub fn jwk_set(key: Option<&PublicKey>) -> String {
    let keys = key.and_then(PublicKey::jwk).into_iter().collect();
    serde_json::to_string(&JwkSet { keys }).unwrap_or_default()
}

impl PublicKey {
    fn of_point(point: &[u8]) -> Self {
        Self { point: point.to_vec(), name: URL_SAFE_NO_PAD.encode(Sha256::digest(point)) }
    }

    /// Reads a `SubjectPublicKeyInfo` in PEM, as `openssl pkey -pubout` writes it.
    fn of_pem(text: &[u8]) -> Result<Self, String> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|error| error.to_string())?;
        let point = info.strip_prefix(&P256_INFO[..]).filter(|point| point.len() == 65);
        point.map(Self::of_point).ok_or_else(|| "it is no public key on P-256".to_owned())
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32);
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return None;
        }
        Some(Self::of_point(&[vec![4], coordinate(&jwk.x)?, coordinate(&jwk.y)?].concat()))
    }

    fn jwk(&self) -> Option<Jwk> {
        let (x, y) = self.point.strip_prefix(&[4])?.split_at_checked(32)?;
        Some(Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            kid: self.name.clone(),
            alg: "ES256".to_owned(),
            use_: "sig".to_owned(),
        })
    }
}

/// Signs.
#[derive(Debug)]
pub struct HeadKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl HeadKey {
    /// Reads a private key: P-256, in PEM, as PKCS#8 or as openssl's `EC PRIVATE KEY`.
    pub fn open(file: &Path) -> Result<Self, TrailError> {
        let unusable = |problem: String| TrailError::Key { file: file.to_owned(), problem };
        let der = PrivateKeyDer::from_pem_file(file).map_err(|error| unusable(error.to_string()))?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der());
        let pair = pair.map_err(|_| unusable("it is no private key on P-256".to_owned()))?;
        let public = PublicKey::of_point(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(in crate::telemetry::trail) fn name(&self) -> &str {
        &self.public.name
    }

    /// The signature, in base64url. `None` where the machine has no random bytes.
    pub(in crate::telemetry::trail) fn sign(&self, chain: &str, sequence: u64, hash: &str) -> Option<String> {
        let text = signed_text(chain, sequence, hash);
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Verifies what [`HeadKey`]s signed.
#[derive(Debug)]
pub struct HeadVerifier {
    keys: Vec<PublicKey>,
}

impl HeadVerifier {
    /// Reads public keys on P-256: one in PEM, as `openssl pkey -pubout` writes it, or a JWK Set, as a server publishes it.
    pub fn open(file: &Path) -> Result<Self, TrailError> {
        let unusable = |problem: String| TrailError::Key { file: file.to_owned(), problem };
        let text = fs::read(file).map_err(|error| unusable(error.to_string()))?;
        if text.trim_ascii_start().starts_with(b"{") {
            let set: JwkSet = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
            let keys: Option<Vec<_>> = set.keys.iter().map(PublicKey::of_jwk).collect();
            let keys = keys.filter(|keys| !keys.is_empty());
            return keys.map(|keys| Self { keys }).ok_or_else(|| unusable("it has no public key on P-256".to_owned()));
        }
        Ok(Self { keys: vec![PublicKey::of_pem(&text).map_err(unusable)?] })
    }

    /// Whether there is a key of that name, and it signed this hash.
    pub(in crate::telemetry::trail) fn has_signed(
        &self,
        key: &str,
        chain: &str,
        (sequence, hash): (u64, &str),
        signature: &str,
    ) -> bool {
        let text = signed_text(chain, sequence, hash);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        self.keys.iter().filter(|public| public.name == key).any(|public| {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public.point);
            public.verify(text.as_bytes(), &signature).is_ok()
        })
    }
}
