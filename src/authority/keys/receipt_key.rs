//! The keys of receipts, and their records in the store, at `/receipt-keys/<id>`. They are no signing keys: whoever has one
//! can make receipts, so that they are in no JWK Set.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::authority::clock::Timestamp;
use crate::authority::keys::sealing;
use crate::authority::keys::sealing::KeyEncryptionKey;
use crate::authority::keys::sealing::RECEIPT_KEYS;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::sealing::Sealed;
use crate::authority::store::Revision;

/// The key of the store that each new receipt key writes, so that of two that are made at the same time one fails. It stays
/// when the keys are gone: then they are lost, and no other is made in their place.
pub const RECEIPT_KEYS_INDEX: &str = "/index/receipt-keys";

/// The schema of the records that this version writes.
pub(in crate::authority) const RECEIPT_KEY_SCHEMA: u32 = 1;

/// The length of a key, in bytes: that of the output of SHA-256.
const KEY_BYTES: usize = 32;

/// The length of a tag, in bytes.
const TAG_BYTES: usize = 16;

/// A key that authenticates receipts by HMAC-SHA-256.
#[derive(Clone)]
pub struct ReceiptKey {
    id: String,
    active_from: Timestamp,
    key: hmac::Key,
}

impl ReceiptKey {
    /// The key of these bytes, for tests and fuzzing.
    pub fn new(id: &str, active_from: Timestamp, key: &[u8; KEY_BYTES]) -> Self {
        Self { id: id.to_owned(), active_from, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// Its name in receipts: 64 random bits as base64url.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// From when on receipts are made with it, until the next key is active.
    pub fn active_from(&self) -> Timestamp {
        self.active_from
    }

    /// The key of its record in the store.
    pub fn store_key(&self) -> String {
        format!("{RECEIPT_KEYS}{}", self.id)
    }

    /// The first half of the HMAC-SHA-256 of a text (RFC 2104 section 5).
    pub(in crate::authority) fn tag(&self, text: &[u8]) -> [u8; TAG_BYTES] {
        let mut half = [0; TAG_BYTES];
        half.iter_mut().zip(hmac::sign(&self.key, text).as_ref()).for_each(|(to, from)| *to = *from);
        half
    }

    /// Whether a tag is that of the text. It takes the same time for every tag of its length.
    pub(in crate::authority) fn verifies(&self, text: &[u8], tag: &[u8]) -> bool {
        self.tag(text).ct_eq(tag).into()
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReceiptKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The receipt keys at one moment. Which of them receipts are made with follows from the time, so that no record changes
/// when a key becomes active or is retired.
#[derive(Clone, Debug, Default)]
pub struct ReceiptKeys(Vec<(ReceiptKey, Revision)>);

impl ReceiptKeys {
    /// Adds a key whose record was written at `revision`, replacing any with the same name.
    pub fn insert(&mut self, key: ReceiptKey, revision: Revision) {
        self.remove(&key.id);
        self.0.push((key, revision));
        self.0.sort_by_key(|(key, revision)| (key.active_from, *revision));
    }

    /// Removes a key: what it has authenticated is refused from now on.
    pub fn remove(&mut self, id: &str) {
        self.0.retain(|(key, _)| key.id != id);
    }

    /// All keys with the revisions of their records, in the order in which they become active.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (&ReceiptKey, Revision)> {
        self.0.iter().map(|(key, revision)| (key, *revision))
    }

    /// A key with the revision of its record. It authenticates before it is active too: the clock of the replica that made
    /// the receipt may be ahead.
    pub fn named(&self, id: &str) -> Option<(&ReceiptKey, Revision)> {
        self.all().find(|(key, _)| key.id == id)
    }

    /// The key to make receipts with: the one that became active last, or will first where none has.
    pub fn active(&self, now: Timestamp) -> Option<&ReceiptKey> {
        let active = self.all().rev().find(|(key, _)| key.active_from <= now);
        active.or_else(|| self.all().next()).map(|(key, _)| key)
    }
}

/// The record of a receipt key in the store.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptKeyRecord {
    schema: u32,
    id: String,
    create_time: Timestamp,
    active_from: Timestamp,
    /// Nonce, ciphertext and tag of the key, in base64.
    sealed: String,
}

impl ReceiptKeyRecord {
    /// A new key that is active from `active_from` on, of these bytes, and its record.
    pub(super) fn seal(
        with: &KeyEncryptionKey,
        (now, active_from): (Timestamp, Timestamp),
        (id, key): ([u8; 8], &[u8; KEY_BYTES]),
    ) -> Result<(ReceiptKey, Self), SealError> {
        let id = URL_SAFE_NO_PAD.encode(id);
        let sealed = sealing::seal(with, Sealed::ReceiptKey(&id), key)?;
        let opened = ReceiptKey::new(&id, active_from, key);
        Ok((opened, Self { schema: RECEIPT_KEY_SCHEMA, id, create_time: now, active_from, sealed }))
    }

    /// Reads a stored value.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|_| SealError::Unreadable)?;
        if record.schema == RECEIPT_KEY_SCHEMA { Ok(record) } else { Err(SealError::Unreadable) }
    }

    /// The value to store.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, SealError> {
        serde_json::to_vec(self).map_err(|_| SealError::Unreadable)
    }

    /// The key of the store that it belongs to.
    pub(super) fn store_key(&self) -> String {
        format!("{RECEIPT_KEYS}{}", self.id)
    }

    /// Opens the key.
    pub(super) fn open(&self, with: &KeyEncryptionKey) -> Result<ReceiptKey, SealError> {
        let bytes = self.opened(with)?;
        Ok(ReceiptKey::new(&self.id, self.active_from, &bytes))
    }

    /// The same record, sealed under another key-encryption key.
    pub(super) fn resealed(self, from: &KeyEncryptionKey, with: &KeyEncryptionKey) -> Result<Self, SealError> {
        let bytes = self.opened(from)?;
        Ok(Self { sealed: sealing::seal(with, Sealed::ReceiptKey(&self.id), &*bytes)?, ..self })
    }

    fn opened(&self, with: &KeyEncryptionKey) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let bytes = sealing::open(with, Sealed::ReceiptKey(&self.id), &self.sealed)?;
        bytes.as_slice().try_into().map(Zeroizing::new).map_err(|_| SealError::Unreadable)
    }
}
