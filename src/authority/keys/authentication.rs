//! Authentication of records that are not secret, but that nobody may forge who has the store without the key-encryption key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authority::keys::sealing::KeyEncryptionKey;

/// Separates the keys that tags are made with from those that seal.
const PURPOSE: &[u8] = b"lanyard: authentication of records, 1";

/// The tag of a message, which is in parts: HMAC-SHA-256 in base64.
pub(super) fn tag(key: &KeyEncryptionKey, parts: &[&[u8]]) -> String {
    STANDARD.encode(hmac::sign(&derived(key), &joined(parts)))
}

/// Whether a tag is that of a message.
pub(super) fn verifies(key: &KeyEncryptionKey, parts: &[&[u8]], tag: &str) -> bool {
    STANDARD.decode(tag).is_ok_and(|tag| hmac::verify(&derived(key), &joined(parts), &tag).is_ok())
}

fn derived(key: &KeyEncryptionKey) -> hmac::Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()), PURPOSE);
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

/// Each part with its length, so that no two messages are the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend(part.len().to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}
