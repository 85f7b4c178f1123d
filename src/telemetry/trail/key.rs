//! The key that signs the last hash of a chain, and nothing else.

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

/// The name of a key: the hash of its public point.
fn name(point: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(point))
}

/// Signs.
#[derive(Debug)]
pub struct HeadKey {
    pair: EcdsaKeyPair,
    name: String,
}

impl HeadKey {
    /// Reads a private key: P-256, in PEM, as PKCS#8 or as openssl's `EC PRIVATE KEY`.
    pub fn open(file: &Path) -> Result<Self, TrailError> {
        let unusable = |problem: String| TrailError::Key { file: file.to_owned(), problem };
        let der = PrivateKeyDer::from_pem_file(file).map_err(|error| unusable(error.to_string()))?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der());
        let pair = pair.map_err(|_| unusable("it is no private key on P-256".to_owned()))?;
        let name = name(pair.public_key().as_ref());
        Ok(Self { pair, name })
    }

    pub(in crate::telemetry::trail) fn name(&self) -> &str {
        &self.name
    }

    /// The signature, in base64url. `None` where the machine has no random bytes.
    pub(in crate::telemetry::trail) fn sign(&self, chain: &str, sequence: u64, hash: &str) -> Option<String> {
        let text = signed_text(chain, sequence, hash);
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Verifies what a [`HeadKey`] signed.
#[derive(Debug)]
pub struct HeadVerifier {
    point: Vec<u8>,
    name: String,
}

impl HeadVerifier {
    /// Reads a public key: P-256, in PEM, as `openssl pkey -pubout` writes it.
    pub fn open(file: &Path) -> Result<Self, TrailError> {
        let unusable = |problem: String| TrailError::Key { file: file.to_owned(), problem };
        let info = SubjectPublicKeyInfoDer::from_pem_file(file).map_err(|error| unusable(error.to_string()))?;
        let point = info.strip_prefix(&P256_INFO[..]).filter(|point| point.len() == 65);
        let point = point.ok_or_else(|| unusable("it is no public key on P-256".to_owned()))?.to_vec();
        let name = name(&point);
        Ok(Self { point, name })
    }

    /// Whether this is the key of that name, and it signed this hash.
    pub(in crate::telemetry::trail) fn has_signed(
        &self,
        key: &str,
        chain: &str,
        (sequence, hash): (u64, &str),
        signature: &str,
    ) -> bool {
        let text = signed_text(chain, sequence, hash);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point);
        key == self.name && public.verify(text.as_bytes(), &signature).is_ok()
    }
}
