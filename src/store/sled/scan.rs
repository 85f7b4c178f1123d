//! The full scan at the start: every record is read and verified before the first request is answered.

use std::collections::BTreeMap;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::io::Errno;

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

/// Why a store's files were not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// They are damaged.
    Damaged(Damage),
    /// The system refused an operation, whatever they contain.
    System(io::Error),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<::sled::Error> for ReadError {
    fn from(error: ::sled::Error) -> Self {
        if let ::sled::Error::Io(error) = &error
            && is_of_system(error)
        {
            let kind = error.kind();
            return Self::System(error.raw_os_error().map_or_else(|| kind.into(), io::Error::from_raw_os_error));
        }
        // sled appends an empty backtrace to some of its messages.
        Self::Damaged(Damage::Engine(error.to_string().trim_end_matches(" backtrace ()").to_owned()))
    }
}

/// Whether the error does not depend on the content of the files. Others, such as EINVAL, may come from an offset that
/// was read from a damaged file.
fn is_of_system(error: &io::Error) -> bool {
    const ERRORS: [Errno; 9] = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ACCESS,
        Errno::PERM,
        Errno::ROFS,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::IO,
    ];
    // sled's copies of an error keep only its kind.
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let errors = ERRORS.map(Errno::raw_os_error);
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| errors.contains(&code))
}

/// The whole content of the tree.
pub(super) type Content = (Ledger, BTreeMap<String, Entry>);

/// Reads and verifies everything; `None` if the tree is empty.
pub(super) fn scan(db: &::sled::Db) -> Result<Option<Content>, ReadError> {
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
        return if entries.is_empty() { Ok(None) } else { Err(Damage::Ledger.into()) };
    };
    if let Some((key, _)) = entries.iter().find(|(_, entry)| entry.revision > ledger.revision) {
        return Err(Damage::Record { key: key.clone(), flaw: Flaw::FromTheFuture }.into());
    }
    if (found.records, found.sum) != (ledger.records, ledger.sum) {
        return Err(Damage::Sum { counted: ledger.records, found: found.records }.into());
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
