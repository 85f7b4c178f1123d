//! The full scan at the start: every record is read and verified before the first request is answered.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::store::Versioned;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::record;
use crate::store::sled::record::CHUNK_KEY_BYTES;
use crate::store::sled::record::Flaw;
use crate::store::step::Entry;

/// Damage in a store's files. Restore the store from an export, or from a copy of the whole directory.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// sled reported an error.
    #[error("the storage engine reports: {0}")]
    Engine(String),
    /// sled panicked.
    #[error("the storage engine panicked: {0}")]
    Panic(String),
    /// A record is damaged.
    #[error("the record {key}: {flaw}")]
    Record {
        /// Its key, or its place in the tree if the key cannot be read.
        key: String,
        /// The kind of damage.
        flaw: Flaw,
    },
    /// There are records but no ledger, or the ledger cannot be read.
    #[error("the ledger is missing or unreadable")]
    Ledger,
    /// Each record is valid, but some are missing or should not exist.
    #[error("the ledger counts {counted} records and {found} were found, or one of them is an older version of itself")]
    Sum {
        /// The number of records in the ledger.
        counted: u64,
        /// The number of records found.
        found: u64,
    },
    /// The mark has no valid copy.
    #[error("the file MARK is unreadable")]
    Mark,
}

impl From<::sled::Error> for Damage {
    fn from(error: ::sled::Error) -> Self {
        // sled appends an empty backtrace to some of its messages.
        Self::Engine(error.to_string().trim_end_matches(" backtrace ()").to_owned())
    }
}

/// The whole content of the tree.
pub(super) type Content = (Ledger, BTreeMap<String, Entry>);

/// Reads and verifies everything; `None` if the tree is empty.
pub(super) fn scan(db: &::sled::Db) -> Result<Option<Content>, Damage> {
    let mut ledger = None;
    let mut entries = BTreeMap::new();
    let mut found = Ledger::new(String::new());
    let mut assembly = Assembly::default();
    for item in db.iter() {
        let (key, value) = item?;
        if key == LEDGER_KEY {
            ledger = Some(Ledger::decode(&value).ok_or(Damage::Ledger)?);
        } else if let Some(whole) = assembly.take(&key, &value)? {
            settle(&whole, &mut found, &mut entries)?;
        }
    }
    if !assembly.place.is_empty() {
        settle(&assembly, &mut found, &mut entries)?;
    }
    let Some(ledger) = ledger else {
        return if entries.is_empty() { Ok(None) } else { Err(Damage::Ledger) };
    };
    if let Some((key, _)) = entries.iter().find(|(_, entry)| entry.revision > ledger.revision) {
        return Err(Damage::Record { key: key.clone(), flaw: Flaw::FromTheFuture });
    }
    if (found.records, found.sum) != (ledger.records, ledger.sum) {
        return Err(Damage::Sum { counted: ledger.records, found: found.records });
    }
    Ok(Some((ledger, entries)))
}

/// The chunks of one record, in the order of their keys.
#[derive(Default)]
struct Assembly {
    place: Vec<u8>,
    chunks: usize,
    envelope: Vec<u8>,
}

impl Assembly {
    /// Adds a chunk. If it is the first of another record, returns the completed record before it.
    fn take(&mut self, key: &[u8], chunk: &[u8]) -> Result<Option<Self>, Damage> {
        let (Some((number, place)), CHUNK_KEY_BYTES) = (key.split_last(), key.len()) else {
            return Err(unreadable(key));
        };
        let before = (place != self.place).then(|| std::mem::take(self)).filter(|before| before.chunks > 0);
        if usize::from(*number) != self.chunks {
            return Err(unreadable(place));
        }
        self.place = place.to_vec();
        self.chunks += 1;
        self.envelope.extend_from_slice(chunk);
        Ok(before)
    }
}

fn settle(whole: &Assembly, found: &mut Ledger, entries: &mut BTreeMap<String, Entry>) -> Result<(), Damage> {
    let record = record::decode(&whole.place, &whole.envelope).map_err(|(key, flaw)| Damage::Record {
        key: key.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(&whole.place)),
        flaw,
    })?;
    found.add(&record.checksum);
    let entry = Versioned { value: record.value.into(), revision: record.revision, expires: record.expires };
    entries.insert(record.key, entry);
    Ok(())
}

fn unreadable(key: &[u8]) -> Damage {
    Damage::Record { key: URL_SAFE_NO_PAD.encode(key), flaw: Flaw::Unreadable }
}
