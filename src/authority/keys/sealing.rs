//! Private keys and the keys of receipts at rest: sealed under a key-encryption key, so that access to the store alone is not
//! enough to use them. Of a key in a hardware security module the public key is sealed, so that nobody else names another.

use std::fmt;

use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::RandomizedNonceKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::authority::clock::NoEntropy;
use crate::authority::keys::location::KeyLocation;

/// The prefix of all keys of signing keys in the store.
pub const KEYS: &str = "/keys/";

/// The prefix of all keys of receipt keys in the store.
pub const RECEIPT_KEYS: &str = "/receipt-keys/";

/// What is sealed, by its name.
#[derive(Clone, Copy)]
pub(super) enum Sealed<'a> {
    /// A private key, or the public key of one that is elsewhere, by its `kid`.
    SigningKey(KeyLocation, &'a str),
    /// A receipt key, by its name.
    ReceiptKey(&'a str),
}

/// The key that each change of the signing keys writes, so that of two that add a key at the same time one fails. Only the
/// revision of its value counts.
pub const KEYS_INDEX: &str = "/index/signing-keys";

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

    /// The key, for keys that are derived from it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
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

/// Why a key cannot be sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The record does not have a format that this version writes.
    #[error("the record of the key is not what this version writes")]
    Unreadable,
    /// The record was sealed under another key-encryption key, was changed, or was moved from another place.
    #[error(
        "the key does not open: the key-encryption key is not the one that it was sealed with, or the record was changed"
    )]
    WrongKey,
    /// An edge has no key-encryption key.
    #[error("an edge has no private keys and seals nothing")]
    AtAnEdge,
}

/// Seals a key as nonce, ciphertext and tag in base64.
pub(super) fn seal(key: &KeyEncryptionKey, what: Sealed<'_>, contents: &[u8]) -> Result<String, SealError> {
    let mut sealed = Zeroizing::new(contents.to_vec());
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| SealError::WrongKey)?;
    let nonce = cipher.seal_in_place_append_tag(associated(what), &mut *sealed).map_err(|_| SealError::WrongKey)?;
    Ok(STANDARD.encode([nonce.as_ref(), sealed.as_slice()].concat()))
}

/// Opens what [`seal`] made.
pub(super) fn open(key: &KeyEncryptionKey, what: Sealed<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut bytes = Zeroizing::new(STANDARD.decode(sealed).map_err(|_| SealError::Unreadable)?);
    let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_BYTES).ok_or(SealError::Unreadable)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Unreadable)?;
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| SealError::WrongKey)?;
    let opened = cipher.open_in_place(nonce, associated(what), ciphertext).map_err(|_| SealError::WrongKey)?;
    Ok(Zeroizing::new(opened.to_vec()))
}

/// The additional authenticated data: the record's place in the store, what is sealed and its name, so that no record can
/// replace another. The state of the key is not part of it, so that it changes without the private key. The form of private
/// keys is that of the first records, and is the same in later schemas.
fn associated(what: Sealed<'_>) -> Aad<Vec<u8>> {
    let (prefix, form, name) = match what {
        Sealed::SigningKey(KeyLocation::Store, kid) => (KEYS, 1, kid),
        Sealed::SigningKey(KeyLocation::Hsm, kid) => (KEYS, 2, kid),
        Sealed::ReceiptKey(id) => (RECEIPT_KEYS, 1, id),
    };
    Aad::from(format!("{prefix}{name}\0{form}\0{name}").into_bytes())
}
