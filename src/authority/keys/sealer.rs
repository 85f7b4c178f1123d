//! Sealing new signing keys for the store, and opening the stored ones.

use std::fmt;
use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::keys::sealing::KeyEncryptionKey;
use crate::authority::keys::sealing::KeyRecord;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::signing_keys::Signer;
use crate::authority::keys::signing_keys::SigningAlgorithm;
use crate::authority::keys::signing_keys::SigningKey;
use crate::authority::keys::signing_keys::UnusableKey;

/// Makes a signer from a PKCS#8 private key.
pub type SignerFactory = fn(SigningAlgorithm, &[u8]) -> Result<Arc<dyn Signer>, InvalidPrivateKey>;

/// The bytes are not a PKCS#8 private key for the algorithm, or no key could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a PKCS#8 private key for this algorithm")]
pub struct InvalidPrivateKey;

/// Why a signing key cannot be sealed, opened or used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyRecordError {
    /// The record cannot be read, sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The record, or the private key in it, belongs to another key of the store.
    #[error("the record is another key's")]
    Misplaced,
    /// The opened bytes are not a private key.
    #[error(transparent)]
    Invalid(#[from] InvalidPrivateKey),
    /// The key cannot be published.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
}

/// Seals and opens signing keys under one key-encryption key.
pub struct KeySealer {
    key: KeyEncryptionKey,
    signer: SignerFactory,
}

impl KeySealer {
    /// Creates a sealer with this key-encryption key. Signers are made by the factory.
    pub fn new(key: KeyEncryptionKey, signer: SignerFactory) -> Self {
        Self { key, signer }
    }

    /// Seals a PKCS#8 private key that was made at `made`.
    pub fn seal(
        &self,
        algorithm: SigningAlgorithm,
        made: Timestamp,
        private_key: &[u8],
    ) -> Result<(SigningKey, KeyRecord), KeyRecordError> {
        let key = SigningKey::new((self.signer)(algorithm, private_key)?, made)?;
        let record = KeyRecord::seal(&self.key, key.key_id().as_str(), algorithm, made, private_key)?;
        Ok((key, record))
    }

    /// Opens the record at a key of the store. This is slow: do not call it while serving a request.
    pub fn open(&self, store_key: &str, value: &[u8]) -> Result<SigningKey, KeyRecordError> {
        let record = KeyRecord::from_bytes(value)?;
        let private_key = record.open(&self.key)?;
        let key = SigningKey::new((self.signer)(record.algorithm, &private_key)?, record.create_time)?;
        // A key is deleted by deleting the record under its name. A record under another name would survive that.
        let in_place = store_key == record.store_key() && key.key_id().as_str() == record.key_id();
        if in_place { Ok(key) } else { Err(KeyRecordError::Misplaced) }
    }
}

impl fmt::Debug for KeySealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeySealer").finish_non_exhaustive()
    }
}
