//! Signing keys in this process's memory. They are parsed once, since parsing costs more than a signature.

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::RsaKeyPair;
use tokio::runtime::Handle;
use tokio::task;
use zeroize::Zeroizing;

use crate::authority::keys::InvalidPrivateKey;
use crate::authority::keys::Signer;
use crate::authority::keys::SignerFactory;
use crate::authority::keys::Signing;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::signer::pool;

/// A private key in memory.
pub struct LocalSigner {
    pair: Pair,
    public_key: Vec<u8>,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(Arc<RsaKeyPair>),
    EdDsa(Ed25519KeyPair),
}

impl LocalSigner {
    /// Generates a private key, PKCS#8 DER: P-256, RSA-2048 or Ed25519.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, InvalidPrivateKey> {
        let pkcs8 = match algorithm {
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                    .map(|document| document.as_ref().to_vec())
            }
            SigningAlgorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                Ok(der.as_ref().to_vec())
            }),
            SigningAlgorithm::EdDsa => {
                Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map(|document| document.as_ref().to_vec())
            }
        };
        pkcs8.map(Zeroizing::new).map_err(|_| InvalidPrivateKey)
    }

    /// Parses a PKCS#8 private key, DER.
    pub fn from_pkcs8(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, InvalidPrivateKey> {
        let invalid = |_| InvalidPrivateKey;
        let pair = match algorithm {
            SigningAlgorithm::Es256 => {
                Pair::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(invalid)?)
            }
            SigningAlgorithm::Rs256 => Pair::Rs256(Arc::new(RsaKeyPair::from_pkcs8(pkcs8).map_err(invalid)?)),
            SigningAlgorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(invalid)?),
        };
        let public_key = match &pair {
            Pair::Es256(pair) => pair.public_key().as_der(),
            Pair::Rs256(pair) => pair.public_key().as_der(),
            Pair::EdDsa(pair) => pair.public_key().as_der(),
        };
        let public_key = public_key.map_err(|_| InvalidPrivateKey)?.as_ref().to_vec();
        Ok(Self { pair, public_key })
    }

    /// How keys of this kind are made and opened.
    pub const FACTORY: SignerFactory =
        SignerFactory { generate: |algorithm| Box::pin(beside_requests(algorithm)), signer: Self::shared };

    /// The same behind the port.
    pub fn shared(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Arc<dyn Signer>, InvalidPrivateKey> {
        Ok(Arc::new(Self::from_pkcs8(algorithm, pkcs8)?))
    }
}

impl Signer for LocalSigner {
    fn algorithm(&self) -> SigningAlgorithm {
        match self.pair {
            Pair::Es256(_) => SigningAlgorithm::Es256,
            Pair::Rs256(_) => SigningAlgorithm::Rs256,
            Pair::EdDsa(_) => SigningAlgorithm::EdDsa,
        }
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        let now = |signature: Result<Vec<u8>, SigningFailed>| -> Signing<'a> { Box::pin(ready(signature)) };
        match &self.pair {
            Pair::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                now(signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| SigningFailed::Failed))
            }
            Pair::EdDsa(pair) => now(Ok(pair.sign(message).as_ref().to_vec())),
            Pair::Rs256(pair) => {
                let (pair, message) = (Arc::clone(pair), message.to_vec());
                Box::pin(pool::SHARED.sign(move || rs256(&pair, &message)))
            }
        }
    }
}

/// Makes a private key on a thread that serves no requests: an RSA key takes up to seconds. Where there is no runtime, it
/// is made here.
async fn beside_requests(algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, InvalidPrivateKey> {
    if Handle::try_current().is_err() {
        return LocalSigner::generate(algorithm);
    }
    let made = task::spawn_blocking(move || LocalSigner::generate(algorithm)).await;
    made.unwrap_or(Err(InvalidPrivateKey))
}

fn rs256(pair: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
    let mut signature = vec![0; pair.public_modulus_len()];
    let signed = pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
    signed.map(|()| signature).map_err(|_| SigningFailed::Failed)
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalSigner").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}
