//! Making and sealing signing keys for the store, and opening the stored ones.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::authority::clock::Timestamp;
use crate::authority::keys::authentication;
use crate::authority::keys::jwk::PublicJwk;
use crate::authority::keys::location::Hsm;
use crate::authority::keys::location::KeyLocation;
use crate::authority::keys::location::WithoutHsm;
use crate::authority::keys::public_record::PublicKeyRecord;
use crate::authority::keys::receipt_key::ReceiptKey;
use crate::authority::keys::receipt_key::ReceiptKeyRecord;
use crate::authority::keys::record::KeyRecord;
use crate::authority::keys::sealing::KeyEncryptionKey;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::signing_key::KeyId;
use crate::authority::keys::signing_key::Signer;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_key::SigningFailed;
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
    /// The hardware security module made no key.
    #[error("no key was made: {0}")]
    NotMade(SigningFailed),
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
    fn open<T>(&self, open: impl Fn(&KeyEncryptionKey) -> Result<T, SealError>) -> Result<T, SealError> {
        let mut opened = self.all().map(open);
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
    /// `None` at an edge, which gets public halves only.
    keys: Option<KeyEncryptionKeys>,
    factory: SignerFactory,
    hsm: Option<Arc<dyn Hsm>>,
    /// Where new keys are made.
    location: KeyLocation,
}

impl KeySealer {
    /// Creates a sealer with these key-encryption keys. Private keys and signers are made by the factory.
    pub fn new(keys: impl Into<KeyEncryptionKeys>, factory: SignerFactory) -> Self {
        Self { keys: Some(keys.into()), factory, hsm: None, location: KeyLocation::Store }
    }

    /// Creates that of an edge. It makes and seals nothing, reads the public halves of keys as a centre prints them, and takes
    /// what is tagged in a store as it is: the centre that it comes from has looked.
    pub fn of_edge(factory: SignerFactory) -> Self {
        Self { keys: None, factory, hsm: None, location: KeyLocation::Store }
    }

    /// The same with a hardware security module. `location` is where new keys are made.
    #[must_use]
    pub fn with_hsm(self, hsm: Arc<dyn Hsm>, location: KeyLocation) -> Self {
        Self { hsm: Some(hsm), location, ..self }
    }

    /// The tag by which whoever has the key-encryption key recognizes these parts of a record.
    pub(in crate::authority) fn tag(&self, parts: &[&[u8]]) -> String {
        self.current().map(|key| authentication::tag(key, parts)).unwrap_or_default()
    }

    /// Whether the tag of these parts was made with one of the key-encryption keys.
    pub(in crate::authority) fn verifies(&self, parts: &[&[u8]], tag: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.all().any(|key| authentication::verifies(key, parts, tag)))
    }

    /// The key-encryption key that seals.
    fn current(&self) -> Result<&KeyEncryptionKey, SealError> {
        self.keys.as_ref().map(|keys| &keys.current).ok_or(SealError::AtAnEdge)
    }

    /// Opens a record with whichever key seals it.
    fn unseal<T>(&self, open: impl Fn(&KeyEncryptionKey) -> Result<T, SealError>) -> Result<T, SealError> {
        self.keys.as_ref().ok_or(SealError::AtAnEdge)?.open(open)
    }

    /// Where new keys are made.
    pub fn location(&self) -> KeyLocation {
        self.location
    }

    /// The hardware security module, if one is configured.
    pub(in crate::authority) fn hsm(&self) -> Option<&dyn Hsm> {
        self.hsm.as_deref()
    }

    /// Makes a new key and its record.
    pub async fn make(
        &self,
        algorithm: SigningAlgorithm,
        now: Timestamp,
        stage: KeyStage,
    ) -> Result<(StoredKey, KeyRecord), KeyRecordError> {
        let (key, record) = match self.location {
            KeyLocation::Store => {
                let private_key = (self.factory.generate)(algorithm).await?;
                self.seal(algorithm, now, &private_key)?
            }
            KeyLocation::Hsm => {
                let hsm = self.hsm().ok_or(KeyRecordError::NotMade(SigningFailed::NotConfigured))?;
                let public_key = hsm.generate(algorithm).await.map_err(KeyRecordError::NotMade)?;
                return self.made_in_hsm(algorithm, &public_key, now, stage);
            }
        };
        Ok((StoredKey::opened(key, stage.clone()).at(self.location), record.in_stage(stage)))
    }

    /// The key that the hardware security module has made with this public key, and a new record of it as of `now`.
    pub(in crate::authority) fn made_in_hsm(
        &self,
        algorithm: SigningAlgorithm,
        public_key: &[u8],
        now: Timestamp,
        stage: KeyStage,
    ) -> Result<(StoredKey, KeyRecord), KeyRecordError> {
        let key = SigningKey::new(self.signer_in_hsm(algorithm, public_key)?, now)?;
        let kid = key.key_id().as_str();
        let record = KeyRecord::seal_reference(self.current()?, kid, algorithm, now, public_key)?;
        Ok((StoredKey::opened(key, stage.clone()).at(KeyLocation::Hsm), record.in_stage(stage)))
    }

    /// The signer for a key in the hardware security module, which need not be there, nor configured.
    fn signer_in_hsm(&self, algorithm: SigningAlgorithm, public_key: &[u8]) -> Result<Arc<dyn Signer>, UnusableKey> {
        let key_id = PublicJwk::from_spki(public_key).ok_or(UnusableKey)?.thumbprint();
        Ok(match &self.hsm {
            Some(hsm) => hsm.signer(algorithm, &key_id, public_key),
            None => Arc::new(WithoutHsm { algorithm, public_key: public_key.to_vec() }),
        })
    }

    /// Seals a PKCS#8 private key that was made at `made`.
    pub fn seal(
        &self,
        algorithm: SigningAlgorithm,
        made: Timestamp,
        private_key: &[u8],
    ) -> Result<(SigningKey, KeyRecord), KeyRecordError> {
        let key = SigningKey::new((self.factory.signer)(algorithm, private_key)?, made)?;
        let record = KeyRecord::seal(self.current()?, key.key_id().as_str(), algorithm, made, private_key)?;
        Ok((key, record))
    }

    /// Opens the record at a key of the store; that of a revoked key is only read. This is slow: do not call it while
    /// serving a request.
    pub fn open(&self, store_key: &str, value: &[u8]) -> Result<StoredKey, KeyRecordError> {
        if self.keys.is_none() {
            return read_public(store_key, value);
        }
        let record = KeyRecord::from_bytes(value)?;
        // A key is deleted by deleting the record under its name. A record under another name would survive that.
        let in_place = store_key == record.store_key();
        if matches!(record.stage, KeyStage::Revoked(_)) {
            return if in_place { Ok(record.closed()) } else { Err(KeyRecordError::Misplaced) };
        }
        let opened = self.unseal(|key| record.open(key))?;
        let signer = match record.location {
            KeyLocation::Store => (self.factory.signer)(record.algorithm, &opened)?,
            KeyLocation::Hsm => self.signer_in_hsm(record.algorithm, &opened)?,
        };
        let key = SigningKey::new(signer, record.create_time)?;
        if !in_place || key.key_id().as_str() != record.key_id() {
            return Err(KeyRecordError::Misplaced);
        }
        Ok(StoredKey::opened(key, record.stage).at(record.location))
    }

    /// Seals a record under the present key-encryption key; `None` where it is already, or is that of a revoked key.
    pub fn reseal(&self, record: &KeyRecord) -> Result<Option<KeyRecord>, KeyRecordError> {
        if matches!(record.stage, KeyStage::Revoked(_)) || record.open(self.current()?).is_ok() {
            return Ok(None);
        }
        let opened = self.unseal(|key| record.open(key))?;
        Ok(Some(record.resealed(self.current()?, &opened)?))
    }

    /// Seals a new receipt key of these random bytes, its name and itself, that is made and active at these times. Returns the
    /// value of its record too.
    pub(in crate::authority) fn seal_receipt_key(
        &self,
        random: ([u8; 8], &[u8; 32]),
        times: (Timestamp, Timestamp),
    ) -> Result<(ReceiptKey, Vec<u8>), KeyRecordError> {
        let (key, record) = ReceiptKeyRecord::seal(self.current()?, times, random)?;
        Ok((key, record.to_bytes()?))
    }

    /// Opens the record of a receipt key at a key of the store.
    pub fn open_receipt_key(&self, store_key: &str, value: &[u8]) -> Result<ReceiptKey, KeyRecordError> {
        let record = ReceiptKeyRecord::from_bytes(value)?;
        if store_key != record.store_key() {
            return Err(KeyRecordError::Misplaced);
        }
        Ok(self.unseal(|key| record.open(key))?)
    }

    /// The value of a receipt key's record, sealed under the present key-encryption key; `None` where it is already.
    pub(in crate::authority) fn reseal_receipt_key(&self, value: &[u8]) -> Result<Option<Vec<u8>>, KeyRecordError> {
        let record = || ReceiptKeyRecord::from_bytes(value);
        if record()?.open(self.current()?).is_ok() {
            return Ok(None);
        }
        let resealed = self.unseal(|key| record()?.resealed(key, self.current()?))?;
        Ok(Some(resealed.to_bytes()?))
    }
}

/// Reads what a centre prints of a key: it verifies and never signs.
fn read_public(store_key: &str, value: &[u8]) -> Result<StoredKey, KeyRecordError> {
    let record = PublicKeyRecord::from_bytes(value)?;
    if store_key != record.store_key() {
        return Err(KeyRecordError::Misplaced);
    }
    let (algorithm, made, stage) = (record.algorithm, record.create_time, record.stage());
    if matches!(stage, KeyStage::Revoked(_)) {
        return Ok(StoredKey::closed(KeyId::of_record(&record.kid), algorithm, made, stage));
    }
    let signer = WithoutHsm { algorithm, public_key: record.public_key()? };
    Ok(StoredKey::opened(SigningKey::new(Arc::new(signer), made)?, stage))
}

impl fmt::Debug for KeySealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeySealer").finish_non_exhaustive()
    }
}
