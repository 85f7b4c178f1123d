//! Where private keys are, and the interface to a hardware security module.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::keys::signing_key::Signer;
use crate::authority::keys::signing_key::Signing;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_key::SigningFailed;

/// Where the private half of a signing key is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeyLocation {
    /// Sealed in its record in the store, and in the memory of each server.
    #[default]
    Store,
    /// In a hardware security module, which it does not leave.
    Hsm,
}

impl KeyLocation {
    /// Its name on the command line and in the log.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Work of a hardware security module. It is not done on the calling thread, which serves requests.
pub type HsmWork<'a, T> = Pin<Box<dyn Future<Output = Result<T, SigningFailed>> + Send + 'a>>;

/// A hardware security module that holds private keys. Each is found by the `kid` of its public key.
pub trait Hsm: fmt::Debug + Send + Sync {
    /// Asks the module whether it is there.
    fn check(&self) -> HsmWork<'_, ()>;

    /// Makes a key pair. Its public key is returned, as a `SubjectPublicKeyInfo` in DER.
    fn generate(&self, algorithm: SigningAlgorithm) -> HsmWork<'_, Vec<u8>>;

    /// A signer for the private key of this public key, a `SubjectPublicKeyInfo` in DER with this `kid`. The module is not
    /// asked before the first signature, and each signature is verified with the public key.
    fn signer(&self, algorithm: SigningAlgorithm, key_id: &str, public_key: &[u8]) -> Arc<dyn Signer>;

    /// Deletes a key pair, if the module has it.
    fn delete<'a>(&'a self, key_id: &'a str) -> HsmWork<'a, ()>;
}

/// The public keys, each a `SubjectPublicKeyInfo` in DER, of pairs that were made in a hardware security module for changes
/// of which it is not known whether they were stored. They are used before another pair is made, so that a store that fails
/// again and again does not fill the module.
#[derive(Debug, Default)]
pub(in crate::authority) struct SpareKeys(Mutex<Vec<Vec<u8>>>);

impl SpareKeys {
    /// Keeps one.
    pub(in crate::authority) fn keep(&self, public_key: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(public_key);
    }

    /// Takes one out.
    pub(in crate::authority) fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A private key in a hardware security module that is not configured: it verifies and never signs.
#[derive(Debug)]
pub(super) struct WithoutHsm {
    pub(super) algorithm: SigningAlgorithm,
    pub(super) public_key: Vec<u8>,
}

impl Signer for WithoutHsm {
    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Box::pin(ready(Err(SigningFailed::NotConfigured)))
    }
}
