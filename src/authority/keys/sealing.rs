//! Private keys at rest: sealed under a key-encryption key, so that access to the store alone is not enough to sign.

use std::fmt;

use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::RandomizedNonceKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::authority::clock::NoEntropy;
use crate::authority::clock::Timestamp;
use crate::authority::keys::signing_keys::SigningAlgorithm;

/// The prefix of all keys of signing keys in the store.
pub const KEYS: &str = "/keys/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

const NONCE_BYTES: usize = 12;

/// The 256-bit key that seals the signing keys. It comes from a file or the environment and is never stored.
#[derive(Clone)]
pub struct KeyEncryptionKey(Zeroizing<[u8; 32]>);

/// The text is not a key-encryption key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a key-encryption key: it must be 32 bytes in base64, as `openssl rand -base64 32` prints them")]
pub struct InvalidKeyEncryptionKey;

impl KeyEncryptionKey {
    /// Reads 32 bytes in standard base64, ignoring white space around them.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyEncryptionKey> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| InvalidKeyEncryptionKey)?);
        let key = bytes.as_slice().try_into().map_err(|_| InvalidKeyEncryptionKey)?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Generates a new key, which has sealed nothing yet.
    pub(crate) fn generate() -> Result<Self, NoEntropy> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_| NoEntropy)?;
        Ok(Self(key))
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyEncryptionKey(…)")
    }
}

/// A signing key in the store, at `/keys/<kid>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    schema: u32,
    kid: String,
    /// The algorithm of the key.
    pub algorithm: SigningAlgorithm,
    /// When the key was made.
    pub create_time: Timestamp,
    /// Nonce, ciphertext and tag of the PKCS#8 private key, in base64.
    sealed: String,
}

/// Why a signing key cannot be sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The record does not have the format that this version writes.
    #[error("the record of the signing key is not what this version writes")]
    Unreadable,
    /// The record was sealed under another key-encryption key, was changed, or was moved from another place.
    #[error(
        "the signing key does not open: the key-encryption key is not the one that it was sealed with, or the record was changed"
    )]
    WrongKey,
}

impl KeyRecord {
    /// Seals a PKCS#8 private key.
    pub fn seal(
        key: &KeyEncryptionKey,
        kid: &str,
        algorithm: SigningAlgorithm,
        create_time: Timestamp,
        private_key: &[u8],
    ) -> Result<Self, SealError> {
        let mut sealed = Zeroizing::new(private_key.to_vec());
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| SealError::WrongKey)?;
        let nonce = cipher.seal_in_place_append_tag(associated(kid), &mut *sealed).map_err(|_| SealError::WrongKey)?;
        let sealed = STANDARD.encode([nonce.as_ref(), sealed.as_slice()].concat());
        Ok(Self { schema: SCHEMA, kid: kid.to_owned(), algorithm, create_time, sealed })
    }

    /// Reads a stored value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|_| SealError::Unreadable)?;
        if record.schema == SCHEMA { Ok(record) } else { Err(SealError::Unreadable) }
    }

    /// The value to store.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SealError> {
        serde_json::to_vec(self).map_err(|_| SealError::Unreadable)
    }

    /// The `kid` of the key.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// The key of the store under which the record is stored.
    pub fn store_key(&self) -> String {
        format!("{KEYS}{}", self.kid)
    }

    /// Opens the private key.
    pub fn open(&self, key: &KeyEncryptionKey) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut bytes = Zeroizing::new(STANDARD.decode(&self.sealed).map_err(|_| SealError::Unreadable)?);
        let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_BYTES).ok_or(SealError::Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Unreadable)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| SealError::WrongKey)?;
        let opened = cipher.open_in_place(nonce, associated(&self.kid), ciphertext).map_err(|_| SealError::WrongKey)?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

/// The additional authenticated data: the record's place in the store, the schema and the kid, so that no record can
/// replace another.
fn associated(kid: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{KEYS}{kid}\0{SCHEMA}\0{kid}").into_bytes())
}
