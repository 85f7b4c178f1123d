//! A certificate chain and the private key of its leaf.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::SubjectPublicKeyInfoDer;

/// Why a chain and a key cannot be presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PairError {
    /// The leaf is not an X.509 certificate.
    #[error("the certificate cannot be read")]
    NotACertificate,
    /// TLS cannot sign with the key.
    #[error(
        "the private key is broken, or of a kind that is not supported: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 \
         or P-521 with the curve's name, and Ed25519 are"
    )]
    UnsupportedKey,
    /// The key is not that of the leaf.
    #[error("the private key is not the one that the certificate was issued for")]
    Mismatch,
}

/// Pairs a chain with a key. rustls reads the leaf with a parser that refuses critical extensions which servers accept;
/// here only its public key is read.
pub(in crate::client) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, PairError> {
    let leaf = chain.first().and_then(|leaf| public_key(leaf)).ok_or(PairError::NotACertificate)?;
    let key = any_supported_type(key).map_err(|_| PairError::UnsupportedKey)?;
    match key.public_key() {
        Some(own) if own != leaf => {
            Err(if is_same_point(&own, &leaf) { PairError::UnsupportedKey } else { PairError::Mismatch })
        }
        Some(_) | None => Ok(CertifiedKey::new(chain, key)),
    }
}

/// Whether two keys that differ end alike: the same point on a curve, which one names and the other describes by its
/// parameters.
fn is_same_point(one: &[u8], other: &[u8]) -> bool {
    /// Two coordinates of the smallest supported curve.
    const POINT: usize = 64;
    one.len().checked_sub(POINT).and_then(|start| one.get(start..)).is_some_and(|point| other.ends_with(point))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The `SubjectPublicKeyInfo` of a certificate (RFC 5280 section 4.1).
fn public_key(certificate: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, signed, _) =
        element(certificate).filter(|(tag, ..)| *tag == SEQUENCE).map(|(_, content, _)| content).and_then(element)?;
    let mut rest = signed;
    // The version may be missing; serial number, algorithm, issuer, validity and subject are there.
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let (tag, _, after) = element(rest)?;
    let whole = rest.get(..rest.len() - after.len())?;
    (tag == SEQUENCE).then(|| whole.to_vec().into())
}

/// The tag and the content of the first element in DER, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}
