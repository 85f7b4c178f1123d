//! The form of a record in the tree: a JSON envelope that an operator can read, with a checksum, split into chunks.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::store::Revision;

/// SHA-256 over key, revision, value, and the expiry if there is one.
pub(super) type Checksum = [u8; 32];

const SCHEMA: u32 = 1;
/// The schema of a record that expires. A version that does not support expiry thus refuses it instead of keeping it
/// without one.
const EXPIRING_SCHEMA: u32 = 2;

/// sled moves a page of more than 128 KiB into a file of its own, which it never syncs and does not always remove. A
/// page holds little more than 16 values. With values of at most this size every page stays in the log, which
/// `fdatasync` covers.
const CHUNK_BYTES: usize = 4096;

/// The length of a chunk's key: the SHA-256 of the record's key, then the chunk's number. Keys of one short length keep
/// sled's index pages small; the record's key itself is in the envelope.
pub(super) const CHUNK_KEY_BYTES: usize = 33;

/// An encoded record.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) checksum: Checksum,
    pub(super) place: Checksum,
    envelope: Vec<u8>,
}

/// A decoded record.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) key: String,
    pub(super) revision: Revision,
    pub(super) expires: Option<Timestamp>,
    pub(super) value: Vec<u8>,
    pub(super) checksum: Checksum,
}

/// Why a stored record is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// A chunk is missing, or the chunks together are not an envelope.
    #[error("it cannot be read")]
    Unreadable,
    /// A later version of this program wrote it.
    #[error("it was written with schema {0}, which this version does not know")]
    Schema(u32),
    /// Key, revision, expiry or value differ from what was written.
    #[error("its checksum does not match")]
    Checksum,
    /// It is stored under the key of another record.
    #[error("it lies in another record's place")]
    Misplaced,
    /// Its revision is later than the store's.
    #[error("its revision is later than the store's")]
    FromTheFuture,
}

#[derive(Deserialize)]
struct Head {
    schema: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    schema: u32,
    #[serde(borrow)]
    key: Cow<'a, str>,
    revision: u64,
    /// Seconds since 1970. Present in exactly the records of [`EXPIRING_SCHEMA`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    encoding: Encoding,
    sha256: String,
    #[serde(borrow)]
    value: Cow<'a, RawValue>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// The value is this JSON, byte for byte.
    Json,
    /// The value is not JSON (or is JSON with surrounding white space): this string is its base64.
    Base64,
}

/// Encodes a record into its envelope.
///
/// # Errors
/// Those of `serde_json`; none are known for these types.
pub(super) fn encode(
    key: &str,
    revision: Revision,
    expires: Option<Timestamp>,
    value: &[u8],
) -> Result<Encoded, serde_json::Error> {
    let checksum = checksum(key, revision, expires, value);
    let (encoding, value) = match serde_json::from_slice::<&RawValue>(value) {
        Ok(raw) if raw.get().len() == value.len() => (Encoding::Json, Cow::Borrowed(raw)),
        _ => (Encoding::Base64, Cow::Owned(serde_json::value::to_raw_value(&STANDARD.encode(value))?)),
    };
    let envelope = Envelope {
        schema: if expires.is_some() { EXPIRING_SCHEMA } else { SCHEMA },
        key: Cow::Borrowed(key),
        revision: revision.0,
        expires: expires.map(|expires| expires.0),
        encoding,
        sha256: URL_SAFE_NO_PAD.encode(checksum),
        value,
    };
    Ok(Encoded { checksum, place: sha256(&[key.as_bytes()]), envelope: serde_json::to_vec(&envelope)? })
}

impl Encoded {
    /// The chunks and their keys.
    pub(super) fn chunks(&self) -> impl Iterator<Item = ([u8; CHUNK_KEY_BYTES], &[u8])> {
        (0..=u8::MAX)
            .zip(self.envelope.chunks(CHUNK_BYTES))
            .map(|(number, chunk)| (chunk_key(&self.place, number), chunk))
    }
}

/// Decodes the record in `envelope`, which was stored at `place`.
///
/// # Errors
/// The key, if it can be read, and the flaw.
pub(super) fn decode(place: &[u8], envelope: &[u8]) -> Result<Decoded, (Option<String>, Flaw)> {
    let Content { key, revision, expires, sha256: written, value } = match as_written(envelope) {
        Some(content) => content,
        None => parsed(envelope)?,
    };
    let (key, value) = (key.into_owned(), value.into_owned());
    let checksum = checksum(&key, revision, expires, &value);
    if URL_SAFE_NO_PAD.encode(checksum) != written {
        return Err((Some(key), Flaw::Checksum));
    }
    if sha256(&[key.as_bytes()]) != place {
        return Err((Some(key), Flaw::Misplaced));
    }
    Ok(Decoded { key, revision, expires, value, checksum })
}

/// What is in an envelope.
struct Content<'a> {
    key: Cow<'a, str>,
    revision: Revision,
    expires: Option<Timestamp>,
    sha256: Cow<'a, str>,
    value: Cow<'a, [u8]>,
}

/// Takes an envelope apart as [`encode`] writes it, without parsing it: the checksum covers whatever is between. `None` for one
/// that is not written so, or has a key with escapes, or a value that is not JSON.
fn as_written(envelope: &[u8]) -> Option<Content<'_>> {
    let (schema, rest) = number(envelope.strip_prefix(b"{\"schema\":")?)?;
    let rest = rest.strip_prefix(b",\"key\":\"")?;
    let (key, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
    let (revision, rest) = number(rest.strip_prefix(b"\",\"revision\":")?)?;
    let (expires, rest) = match rest.strip_prefix(b",\"expires\":") {
        Some(rest) => number(rest).map(|(expires, rest)| (Some(Timestamp(expires)), rest))?,
        None => (None, rest),
    };
    let rest = rest.strip_prefix(b",\"encoding\":\"json\",\"sha256\":\"")?;
    let (sha256, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
    let value = rest.strip_prefix(b"\",\"value\":")?.strip_suffix(b"}")?;
    let is_plain = |text: &[u8]| text.iter().all(|byte| *byte >= 0x20 && *byte != b'\\');
    let wanted = u64::from(if expires.is_some() { EXPIRING_SCHEMA } else { SCHEMA });
    (schema == wanted && is_plain(key) && is_plain(sha256)).then_some(())?;
    let [key, sha256] = [key, sha256].map(|text| std::str::from_utf8(text).ok().map(Cow::Borrowed));
    Some(Content { key: key?, revision: Revision(revision), expires, sha256: sha256?, value: Cow::Borrowed(value) })
}

/// The number at the beginning, as JSON has it, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 1 || !digits.starts_with('0'))?;
    Some((digits.parse().ok()?, rest))
}

/// Parses an envelope, however it is written.
fn parsed(envelope: &[u8]) -> Result<Content<'_>, (Option<String>, Flaw)> {
    let read = serde_json::from_slice::<Envelope<'_>>(envelope);
    let schema = match &read {
        Ok(envelope) => envelope.schema,
        // That of a later version may have other members.
        Err(_) => serde_json::from_slice::<Head>(envelope).map_err(|_| (None, Flaw::Unreadable))?.schema,
    };
    if schema != SCHEMA && schema != EXPIRING_SCHEMA {
        return Err((None, Flaw::Schema(schema)));
    }
    let Envelope { key, revision, expires, encoding, sha256, value, .. } =
        read.map_err(|_| (None, Flaw::Unreadable))?;
    let decoded = match encoding {
        Encoding::Json => Some(value.get().as_bytes().to_vec()),
        Encoding::Base64 => serde_json::from_str::<&str>(value.get()).ok().and_then(|text| STANDARD.decode(text).ok()),
    };
    match decoded.filter(|_| expires.is_some() == (schema == EXPIRING_SCHEMA)) {
        None => Err((Some(key.into_owned()), Flaw::Unreadable)),
        Some(value) => Ok(Content {
            key,
            revision: Revision(revision),
            expires: expires.map(Timestamp),
            sha256: sha256.into(),
            value: value.into(),
        }),
    }
}

/// What a record counts for in the ledger.
pub(super) fn checksum(key: &str, revision: Revision, expires: Option<Timestamp>, value: &[u8]) -> Checksum {
    // The key's length comes first, so that no byte can move from the key to what follows it.
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes();
    let revision = revision.0.to_be_bytes();
    match expires {
        None => sha256(&[&length, key.as_bytes(), &revision, value]),
        // A length never begins with this byte, so the two forms cannot be confused.
        Some(expires) => sha256(&[&[0xff], &length, key.as_bytes(), &revision, &expires.0.to_be_bytes(), value]),
    }
}

/// The SHA-256 of the concatenated parts.
pub(super) fn sha256(parts: &[&[u8]]) -> Checksum {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn chunk_key(place: &Checksum, number: u8) -> [u8; CHUNK_KEY_BYTES] {
    let mut key = [number; CHUNK_KEY_BYTES];
    key.iter_mut().zip(place).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope_of(key: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        envelope_until(key, None, value)
    }

    fn envelope_until(key: &str, expires: Option<Timestamp>, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let encoded = encode(key, Revision(7), expires, value).unwrap();
        let whole = encoded.chunks().flat_map(|(_, chunk)| chunk.to_vec()).collect();
        (encoded.place.to_vec(), whole)
    }

    #[test]
    fn any_bytes_are_decoded_as_they_were_encoded() {
        let long = format!("\"{}\"", "x".repeat(60_000));
        for value in [&b"{\"a\": [1,2]}"[..], b"null", b" 1 ", b"", b"\xff\x00", b"{\"a\":", long.as_bytes()] {
            let (place, envelope) = envelope_of("/clients/\"a\"\n\u{1F511}", value);
            let decoded = decode(&place, &envelope).unwrap();
            assert_eq!(decoded.value, value);
            assert_eq!(decoded.key, "/clients/\"a\"\n\u{1F511}");
            assert_eq!(decoded.revision, Revision(7));
        }
    }

    #[test]
    fn a_json_value_can_be_read_in_its_envelope() {
        let (_, envelope) = envelope_of("/clients/a", b"{\"scope\":\"read\"}");
        let text = String::from_utf8(envelope).unwrap();
        assert!(text.ends_with(",\"value\":{\"scope\":\"read\"}}"), "{text}");
    }

    #[test]
    fn an_envelope_with_any_one_bit_flipped_is_refused() {
        for expires in [None, Some(Timestamp(1_800_000_000))] {
            let (place, envelope) = envelope_until("/clients/a", expires, b"{\"scope\":\"read\"}");
            for bit in 0..envelope.len() * 8 {
                let mut flipped = envelope.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&place, &flipped).is_err(), "{}", String::from_utf8_lossy(&flipped));
            }
        }
    }

    #[test]
    fn an_expiry_is_decoded_and_can_be_neither_removed_nor_added() {
        let (place, envelope) = envelope_until("/clients/a", Some(Timestamp(9)), b"1");
        assert_eq!(decode(&place, &envelope).unwrap().expires, Some(Timestamp(9)));
        let text = String::from_utf8(envelope).unwrap();
        let endless = text.replace("\"expires\":9,", "");
        assert_ne!(endless, text);
        let (_, plain) = envelope_of("/clients/a", b"1");
        let ended = String::from_utf8(plain).unwrap().replace("\"encoding\"", "\"expires\":9,\"encoding\"");
        for wrong in [&endless, &ended] {
            for schema in ["1", "2"] {
                let wrong = wrong
                    .replace("\"schema\":1", "\"schema\":2")
                    .replace("\"schema\":2", &format!("\"schema\":{schema}"));
                assert!(decode(&place, wrong.as_bytes()).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn a_record_without_expiry_is_read_and_written_as_in_earlier_versions() {
        let (place, envelope) = envelope_of("/clients/a", b"1");
        let checksum = "xRAvA7bUsPVs-TIcUcJP3E-jmhmQ0nPxhkXklu5Ajjw";
        let before = format!(
            "{{\"schema\":1,\"key\":\"/clients/a\",\"revision\":7,\"encoding\":\"json\",\"sha256\":\"{checksum}\",\"value\":1}}"
        );
        assert_eq!(String::from_utf8(envelope.clone()).unwrap(), before);
        assert_eq!(decode(&place, &envelope).unwrap().expires, None);
    }

    #[test]
    fn a_record_in_another_records_place_is_refused() {
        let (_, envelope) = envelope_of("/clients/a", b"1");
        let (other, _) = envelope_of("/clients/b", b"1");
        assert_eq!(decode(&other, &envelope).unwrap_err(), (Some("/clients/a".to_owned()), Flaw::Misplaced));
    }

    #[test]
    fn an_envelope_as_it_is_written_is_not_parsed_and_read_alike() {
        for (key, value, is_as_written) in [
            ("/clients/a", &b"{\"scope\":\"read\"}"[..], true),
            ("/clients/\u{1F511}", b"[\"}\"]", true),
            ("/clients/\"a\"", b"1", false),
            ("/clients/a\n", b"1", false),
            ("/clients/a", b"\xff", false),
            ("/clients/a", b" 1", false),
        ] {
            for expires in [None, Some(Timestamp(0)), Some(Timestamp(1_800_000_000))] {
                let (place, envelope) = envelope_until(key, expires, value);
                assert_eq!(as_written(&envelope).is_some(), is_as_written, "{key:?}");
                let parsed = parsed(&envelope).unwrap();
                assert_eq!((&*parsed.key, parsed.expires, &*parsed.value), (key, expires, value));
                if let Some(written) = as_written(&envelope) {
                    assert_eq!((written.key, written.revision), (parsed.key, parsed.revision));
                    assert_eq!((written.expires, written.sha256), (parsed.expires, parsed.sha256));
                    assert_eq!(written.value, parsed.value);
                }
                let spaced = String::from_utf8(envelope).unwrap().replacen("\"revision\":7", "\"revision\": 7", 1);
                assert!(as_written(spaced.as_bytes()).is_none());
                assert_eq!(decode(&place, spaced.as_bytes()).unwrap().value, value);
            }
        }
    }

    #[test]
    fn a_later_schema_is_refused_by_its_number() {
        let (place, envelope) = envelope_of("/clients/a", b"1");
        let later = String::from_utf8(envelope).unwrap().replace("\"schema\":1", "\"schema\":3");
        assert_eq!(decode(&place, later.as_bytes()).unwrap_err(), (None, Flaw::Schema(3)));
    }
}
