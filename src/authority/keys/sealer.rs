//! Making and sealing signing keys for the store, and opening the stored ones.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::authority::clock::Timestamp;
use crate::authority::keys::record::KeyRecord;
use crate::authority::keys::sealing::KeyEncryptionKey;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::signing_key::Signer;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_key::SigningKey;
use crate::authority::keys::signing_key::UnusableKey;
use crate::authority::keys::signing_keys::StoredKey;
use crate::authority::keys::standing::KeyStage;

/// A private key that is being made, PKCS#8 DER.
pub type Making = Pin<Box<dyn Future<Output = Result<Zeroizing<Vec<u8>>, InvalidPrivateKey>> + Send>>;

/// A signer, or why there is none.
pub type Opened = Result<Arc<dyn Signer>, InvalidPrivateKey>;

/// How private keys are made, and how signers are made from them.
#[derive(Clone, Copy, Debug)]
pub struct SignerFactory {
    /// Makes a private key. One that takes long is not made on the calling thread, which serves requests.
    pub generate: fn(SigningAlgorithm) -> Making,
    /// Makes a signer from a PKCS#8 private key.
    pub signer: fn(SigningAlgorithm, &[u8]) -> Opened,
}

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

/// The key-encryption keys of a server.
#[derive(Clone, Debug)]
pub struct KeyEncryptionKeys {
    /// The one that seals.
    pub current: KeyEncryptionKey,
    /// Others that open what was sealed before.
    pub previous: Vec<KeyEncryptionKey>,
}

impl KeyEncryptionKeys {
    fn all(&self) -> impl Iterator<Item = &KeyEncryptionKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Opens a record with whichever key seals it.
    fn open(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut opened = self.all().map(|key| record.open(key));
        opened.find(|opened| !matches!(opened, Err(SealError::WrongKey))).unwrap_or(Err(SealError::WrongKey))
    }
}

impl From<KeyEncryptionKey> for KeyEncryptionKeys {
    fn from(current: KeyEncryptionKey) -> Self {
        Self { current, previous: Vec::new() }
    }
}

/// Makes, seals and opens signing keys.
pub struct KeySealer {
    keys: KeyEncryptionKeys,
    factory: SignerFactory,
}

impl KeySealer {
    /// Creates a sealer with these key-encryption keys. Private keys and signers are made by the factory.
    pub fn new(keys: impl Into<KeyEncryptionKeys>, factory: SignerFactory) -> Self {
        Self { keys: keys.into(), factory }
    }

    /// Makes a new key and its record.
    pub async fn make(
        &self,
        algorithm: SigningAlgorithm,
        now: Timestamp,
        stage: KeyStage,
    ) -> Result<(StoredKey, KeyRecord), KeyRecordError> {
        let private_key = (self.factory.generate)(algorithm).await?;
        let (key, record) = self.seal(algorithm, now, &private_key)?;
        Ok((StoredKey::opened(key, stage.clone()), record.in_stage(stage)))
    }

    /// Seals a PKCS#8 private key that was made at `made`.
    pub fn seal(
        &self,
        algorithm: SigningAlgorithm,
        made: Timestamp,
        private_key: &[u8],
    ) -> Result<(SigningKey, KeyRecord), KeyRecordError> {
        let key = SigningKey::new((self.factory.signer)(algorithm, private_key)?, made)?;
        let record = KeyRecord::seal(&self.keys.current, key.key_id().as_str(), algorithm, made, private_key)?;
        Ok((key, record))
    }

    /// Opens the record at a key of the store; that of a revoked key is only read. This is slow: do not call it while
    /// serving a request.
    pub fn open(&self, store_key: &str, value: &[u8]) -> Result<StoredKey, KeyRecordError> {
        let record = KeyRecord::from_bytes(value)?;
        // A key is deleted by deleting the record under its name. A record under another name would survive that.
        let in_place = store_key == record.store_key();
        if matches!(record.stage, KeyStage::Revoked(_)) {
            return if in_place { Ok(record.closed()) } else { Err(KeyRecordError::Misplaced) };
        }
        let private_key = self.keys.open(&record)?;
        let key = SigningKey::new((self.factory.signer)(record.algorithm, &private_key)?, record.create_time)?;
        let in_place = in_place && key.key_id().as_str() == record.key_id();
        if in_place { Ok(StoredKey::opened(key, record.stage)) } else { Err(KeyRecordError::Misplaced) }
    }

    /// Seals a record under the present key-encryption key; `None` where it is already, or holds no private key.
    pub fn reseal(&self, record: &KeyRecord) -> Result<Option<KeyRecord>, KeyRecordError> {
        if matches!(record.stage, KeyStage::Revoked(_)) || record.open(&self.keys.current).is_ok() {
            return Ok(None);
        }
        let private_key = self.keys.open(record)?;
        Ok(Some(record.resealed(&self.keys.current, &private_key)?))
    }
}

impl fmt::Debug for KeySealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeySealer").finish_non_exhaustive()
    }
}
