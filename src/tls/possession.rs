//! Proof that a peer holds the key of its certificate: the signature in the handshake, and a key beside a certificate.
//!
//! rustls parses the certificate for this with webpki, which refuses X.509 version 1 and critical extensions that
//! `authority::trust` accepts. Here only the public key is used.

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::PeerMisbehaved;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::CertifiedKey;
use webpki::RawPublicKeyEntity;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// Verifies the signature of a peer in TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let mut schemes = provider.signature_verification_algorithms.mapping.iter();
    let (_, algorithms) = schemes
        .find(|(scheme, _)| *scheme == signature.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // In TLS 1.2 a scheme with ECDSA does not say which curve.
    let valid = algorithms.iter().any(|one| key.verify_signature(*one, message, signature.signature()).is_ok());
    if valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
}

/// Verifies the signature of a peer in TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(message, key, signature, &provider.signature_verification_algorithms)
}

/// The public key of a certificate.
pub(super) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(parsed.public_key().raw.to_vec().into())
}

/// Why a chain and a private key cannot be presented.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The leaf cannot be parsed.
    #[error("the certificate cannot be read")]
    NotACertificate,
    /// TLS cannot sign with the key.
    #[error(
        "the private key is broken, or of a kind that is not supported: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 \
         or P-521 with the curve's name, and Ed25519 are"
    )]
    UnsupportedKey,
    /// The key is not that of the leaf.
    #[error("the private key is not the one of the certificate")]
    Mismatch,
}

/// Pairs a chain with the private key of its leaf.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PairError> {
    let key = provider.key_provider.load_private_key(key).map_err(|_| PairError::UnsupportedKey)?;
    let leaf = chain.first().ok_or(PairError::NotACertificate)?;
    let certified = public_key(leaf).map_err(|_| PairError::NotACertificate)?;
    match key.public_key() {
        Some(own) if own != certified => Err(PairError::Mismatch),
        Some(_) | None => Ok(CertifiedKey::new(chain, key)),
    }
}
