//! Writing an export.

use std::borrow::Cow;
use std::vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::backup::moved::MovedRecord;
use crate::authority::clock::Timestamp;
use crate::authority::store::Listing;
use crate::authority::store::Revision;

/// The number of the format that this version writes and reads.
pub(super) const FORMAT: u32 = 1;

/// What a store held at one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Export {
    /// The version of the program that wrote it.
    pub version: String,
    /// The revision of the store. All records are as they were at it.
    pub revision: Revision,
    /// When it was made.
    pub time: Timestamp,
    /// The records, in the order of their keys.
    pub records: Vec<MovedRecord>,
}

impl Export {
    /// The export of a listing of all keys.
    pub fn of(listing: &Listing, time: Timestamp) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, revision: listing.revision, time, records: MovedRecord::all(listing) }
    }

    /// Its lines, each with its line feed. They are made as they are asked for.
    pub fn into_lines(self) -> Lines {
        let Self { version, revision, time, records } = self;
        let header = Header { lanyard_export: FORMAT, version, revision: revision.0, time };
        Lines { header: Some(header), records: records.into_iter(), hash: Sha256::new(), count: 0, ended: false }
    }
}

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) lanyard_export: u32,
    pub(super) version: String,
    pub(super) revision: u64,
    pub(super) time: Timestamp,
}

/// The line of a record. It has either a value, which is JSON and is written as it is, or the base64 of any other bytes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    pub(super) records: u64,
    pub(super) sha256: String,
}

/// The lines of an export.
#[derive(Debug)]
pub struct Lines {
    header: Option<Header>,
    records: vec::IntoIter<MovedRecord>,
    hash: Sha256,
    count: u64,
    ended: bool,
}

impl Iterator for Lines {
    type Item = Result<Vec<u8>, serde_json::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(header) = self.header.take() {
            return Some(self.hashed(serde_json::to_vec(&header)));
        }
        if let Some(record) = self.records.next() {
            self.count += 1;
            return Some(self.hashed(line(&record)));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let last = Last { records: self.count, sha256: hex::encode(self.hash.clone().finalize()) };
        Some(serde_json::to_vec(&last).map(ended))
    }
}

impl Lines {
    fn hashed(&mut self, line: Result<Vec<u8>, serde_json::Error>) -> Result<Vec<u8>, serde_json::Error> {
        line.map(ended).inspect(|line| self.hash.update(line))
    }
}

fn ended(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

/// The line of a record, without its line feed.
fn line(record: &MovedRecord) -> Result<Vec<u8>, serde_json::Error> {
    let (key, expires) = (Cow::Borrowed(record.key.as_str()), record.expires);
    let json = serde_json::from_slice::<&RawValue>(&record.value).ok();
    // `null` would read as no value, and a line feed would end the line.
    let is_a_line = |json: &&RawValue| {
        let text = json.get();
        text.len() == record.value.len() && text != "null" && !text.contains('\n')
    };
    let value = json.filter(is_a_line);
    let base64 = if value.is_some() { None } else { Some(STANDARD.encode(&record.value)) };
    serde_json::to_vec(&Line { key, expires, value, base64 })
}

/// The SHA-256 of the lines of these records.
pub(super) fn digest(records: &[MovedRecord]) -> Result<String, serde_json::Error> {
    let mut hash = Sha256::new();
    for record in records {
        hash.update(ended(line(record)?));
    }
    Ok(hex::encode(hash.finalize()))
}
