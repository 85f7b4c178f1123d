//! What the fuzz targets check of the records in the tree.

use crate::store::sled::record::decode;
use crate::store::sled::record::encode;
use crate::store::sled::record::sha256;

/// The input as the envelope of a record.
pub(crate) fn stored_envelopes(input: &[u8]) {
    let key = serde_json::from_slice::<serde_json::Value>(input).ok();
    let key = key.as_ref().and_then(|value| value.get("key")?.as_str()).unwrap_or_default();
    let place = sha256(&[key.as_bytes()]);
    let Ok(record) = decode(&place, input) else { return };
    let Ok(encoded) = encode(&record.key, record.revision, record.expires, &record.value) else {
        unreachable!("what was read is written")
    };
    let envelope: Vec<u8> = encoded.chunks().flat_map(|(_, chunk)| chunk.to_vec()).collect();
    let Ok(again) = decode(&place, &envelope) else { unreachable!("what was written is read") };
    assert_eq!((again.key, again.revision, again.expires), (record.key, record.revision, record.expires));
    assert_eq!((again.value, again.checksum), (record.value, record.checksum));
    assert!(decode(&sha256(&[b"another"]), input).is_err());
}
