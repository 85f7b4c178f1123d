//! Public keys and signatures of certificates.

use sha2::Digest as _;
use sha2::Sha256;
use webpki::ALL_VERIFICATION_ALGS;
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authority::trust::path::der;
use crate::authority::trust::path::der::Malformed;

/// The sizes of RSA keys that signatures are verified with, in bits.
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// The largest public exponent of an RSA key, in bits, as aws-lc has it. Verifying takes as many squarings, and more than
/// 17 bits are rare.
const MAX_RSA_EXPONENT_BITS: usize = 33;

/// A public key.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct PublicKey {
    /// The content of the `AlgorithmIdentifier`.
    algorithm: Box<[u8]>,
    bits: Box<[u8]>,
    supported: bool,
}

/// The signature on a certificate.
#[derive(Debug)]
pub(super) struct Signature {
    /// The content of the `AlgorithmIdentifier`.
    algorithm: Box<[u8]>,
    bits: Box<[u8]>,
}

/// What came of verifying a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verified {
    /// It is the signature of this key.
    Valid,
    /// It is not.
    Invalid,
    /// The signature's algorithm is not supported.
    UnsupportedAlgorithm,
    /// The kind of key is not supported.
    UnsupportedKey,
}

impl PublicKey {
    pub(super) fn new(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, Malformed> {
        let mut content = der::only(info.raw)?;
        let algorithm = der::first(&mut content)?.content;
        let known = ALL_VERIFICATION_ALGS.iter().any(|known| *known.public_key_alg_id() == *algorithm);
        let fits = match info.parsed() {
            Ok(ParsedKey::RSA(rsa)) => {
                (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(rsa.modulus))
                    && bits(rsa.exponent) <= MAX_RSA_EXPONENT_BITS
            }
            Ok(_) => true,
            Err(_) => false,
        };
        let bits = whole_bytes(&info.subject_public_key.data, info.subject_public_key.unused_bits)?;
        Ok(Self { algorithm: algorithm.into(), bits, supported: known && fits })
    }

    /// Whether signatures of this key can be verified, in a certificate and in a TLS handshake alike.
    pub(super) fn is_supported(&self) -> bool {
        self.supported
    }

    /// The hash of this key, of `message` and of the signature: no others have the same.
    pub(super) fn digest(&self, message: &[u8], signature: &Signature) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.algorithm, &self.bits, message, &signature.algorithm, &signature.bits] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Verifies the signature on `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &Signature) -> Verified {
        if !self.supported {
            return Verified::UnsupportedKey;
        }
        let mut known =
            ALL_VERIFICATION_ALGS.iter().filter(|known| *known.signature_alg_id() == *signature.algorithm).peekable();
        if known.peek().is_none() {
            return Verified::UnsupportedAlgorithm;
        }
        // A signature algorithm of another kind of key was not made by this one.
        let valid = known
            .find(|known| *known.public_key_alg_id() == *self.algorithm)
            .is_some_and(|known| known.verify_signature(&self.bits, message, &signature.bits).is_ok());
        if valid { Verified::Valid } else { Verified::Invalid }
    }
}

impl Signature {
    pub(super) fn new(algorithm: &[u8], bits: &[u8], unused_bits: u8) -> Result<Self, Malformed> {
        Ok(Self { algorithm: algorithm.into(), bits: whole_bytes(bits, unused_bits)? })
    }
}

/// The size of a number. Leading zeros do not count.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let first = significant.clone().next().map_or(0, |byte| byte.leading_zeros() as usize);
    (significant.count() * 8).saturating_sub(first)
}

fn whole_bytes(bits: &[u8], unused: u8) -> Result<Box<[u8]>, Malformed> {
    if unused == 0 { Ok(bits.into()) } else { Err(Malformed) }
}
