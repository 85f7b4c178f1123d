//! Signing keys at rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::keys::KeyEncryptionKey;
use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::SealError;
use lanyard::authority::keys::SigningAlgorithm;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;

const PRIVATE: &[u8] = b"a private key";

fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap()
}

fn sealed(kid: &str) -> Value {
    let record = KeyRecord::seal(&key(1), kid, SigningAlgorithm::Es256, NOW, PRIVATE).unwrap();
    assert_eq!(record.store_key(), format!("/keys/{kid}"));
    serde_json::from_slice(&record.to_bytes().unwrap()).unwrap()
}

fn open(record: &Value, with: &KeyEncryptionKey) -> Result<Vec<u8>, SealError> {
    KeyRecord::from_bytes(record.to_string().as_bytes())?.open(with).map(|opened| opened.to_vec())
}

#[test]
fn a_sealed_key_opens_with_its_key_encryption_key_and_no_other() {
    let record = sealed("kid");
    assert_eq!(open(&record, &key(1)).as_deref(), Ok(PRIVATE));
    assert_eq!(open(&record, &key(2)), Err(SealError::WrongKey));
}

#[test]
fn a_sealed_key_tells_nothing_and_never_looks_the_same_twice() {
    let (one, other) = (sealed("kid"), sealed("kid"));
    assert_ne!(one["sealed"], other["sealed"]);
    let bytes = STANDARD.decode(one["sealed"].as_str().unwrap()).unwrap();
    assert_eq!(bytes.len(), 12 + PRIVATE.len() + 16);
    assert!(!bytes.windows(4).any(|part| part == &PRIVATE[..4]));
    assert_eq!(format!("{:?}", key(1)), "KeyEncryptionKey(…)");
}

#[test]
fn every_changed_bit_of_a_sealed_key_is_noticed() {
    let record = sealed("kid");
    let bytes = STANDARD.decode(record["sealed"].as_str().unwrap()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut record = record.clone();
        record["sealed"] = json!(STANDARD.encode(changed));
        assert_eq!(open(&record, &key(1)), Err(SealError::WrongKey), "{bit}");
    }
    for length in [0, 11, 12, 27, bytes.len() - 1] {
        let mut record = record.clone();
        record["sealed"] = json!(STANDARD.encode(&bytes[..length]));
        assert!(open(&record, &key(1)).is_err(), "{length}");
    }
}

#[test]
fn a_sealed_key_in_the_place_of_another_does_not_open() {
    let (one, mut other) = (sealed("one"), sealed("other"));
    other["sealed"] = one["sealed"].clone();
    assert_eq!(open(&other, &key(1)), Err(SealError::WrongKey));
    let mut renamed = one;
    renamed["kid"] = json!("other");
    assert_eq!(open(&renamed, &key(1)), Err(SealError::WrongKey));
}

#[test]
fn what_this_version_did_not_write_is_unreadable() {
    let record = sealed("kid");
    for (member, value) in [
        ("schema", json!(2)),
        ("schema", json!("1")),
        ("algorithm", json!("HS256")),
        ("create_time", json!(-1)),
        ("sealed", json!("not base64")),
        ("sealed", json!(7)),
        ("more", json!(1)),
    ] {
        let mut record = record.clone();
        record[member] = value;
        assert_eq!(open(&record, &key(1)), Err(SealError::Unreadable), "{member}");
    }
    for garbage in ["", "{}", "null", "{"] {
        assert_eq!(KeyRecord::from_bytes(garbage.as_bytes()).unwrap_err(), SealError::Unreadable, "{garbage:?}");
    }
}

#[test]
fn a_key_encryption_key_is_32_bytes_in_base64() {
    assert!(KeyEncryptionKey::parse(&format!("{}\n", STANDARD.encode([0; 32]))).is_ok());
    for bad in [String::new(), STANDARD.encode([0; 31]), STANDARD.encode([0; 33]), "é".repeat(16), "0".repeat(64)] {
        assert!(KeyEncryptionKey::parse(&bad).is_err(), "{bad:?}");
    }
}
