//! The full scan at the start: every record is read and checked before the first request is answered.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::store::Versioned;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::record;
use crate::store::sled::record::CHUNK_KEY_BYTES;
use crate::store::sled::record::Flaw;
use crate::store::table::Entry;

/// What is wrong with a store's files. Restore it from an export, or from a copy of the whole directory.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// sled found it.
    #[error("the storage engine reports: {0}")]
    Engine(String),
    /// sled gave up over it.
    #[error("the storage engine gave up: {0}")]
    Panic(String),
    /// One record.
    #[error("the record {key}: {flaw}")]
    Record {
        /// Its key, or the place at which it lies if the key cannot be read.
        key: String,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// There are records but no ledger, or it cannot be read.
    #[error("the ledger is missing or unreadable")]
    Ledger,
    /// Each record is sound, but they are not all there, or some should not be.
    #[error("the ledger counts {counted} records and {found} were found, or one of them is an older version of itself")]
    Sum {
        /// How many there should be.
        counted: u64,
        /// How many there are.
        found: u64,
    },
    /// The mark has no sound copy.
    #[error("the file MARK is unreadable")]
    Mark,
}

impl From<::sled::Error> for Damage {
    fn from(error: ::sled::Error) -> Self {
        // sled ends some of its texts with the place for a backtrace that it does not take.
        Self::Engine(error.to_string().trim_end_matches(" backtrace ()").to_owned())
    }
}

/// Everything in the tree.
pub(super) type Content = (Ledger, BTreeMap<String, Entry>);

/// Reads and checks everything; `None` if the tree is empty.
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

/// The chunks of one record, as they come by in the order of their keys.
#[derive(Default)]
struct Assembly {
    place: Vec<u8>,
    chunks: usize,
    envelope: Vec<u8>,
}

impl Assembly {
    /// Takes a chunk in. If it is the first of another record, the record before it is whole and handed out.
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
