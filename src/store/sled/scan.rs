//! The full scan at the start: every record is read and verified before the first request is answered.

use std::io;
use std::num::NonZero;
use std::ops::Bound;
use std::panic;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::io::Errno;

use crate::authority::store::Revision;
use crate::store::packed::Packed;
use crate::store::packed::Record;
use crate::store::packed::Samples;
use crate::store::packed::sorted;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::record;
use crate::store::sled::record::CHUNK_KEY_BYTES;
use crate::store::sled::record::Decoded;
use crate::store::sled::record::Flaw;

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

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
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
#[derive(Debug)]
pub(super) struct Content {
    pub(super) ledger: Ledger,
    pub(super) entries: Packed,
    /// Whether the entries were taken from the image, so that those in the tree have not been read yet.
    pub(super) is_of_image: bool,
}

/// How many records are looked at for samples.
const SAMPLED: usize = 256;

/// The name of the threads that may panic in sled.
pub(super) const STORE_THREAD: &str = "lanyard-store";

/// The most threads that read.
const THREADS: usize = 8;

/// The ledger in the tree; `None` if there is none.
pub(super) fn ledger(db: &::sled::Db) -> Result<Option<Ledger>, ReadError> {
    Ok(db.get(LEDGER_KEY)?.map(|line| Ledger::decode(&line).ok_or(Damage::Ledger)).transpose()?)
}

/// Runs the work on as many threads as the machine runs, each with its number and the number of all.
pub(super) fn in_threads<T: Send, E: From<io::Error> + Send>(
    work: impl Fn(usize, usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    let work = &work;
    thread::scope(|scope| {
        let spawn = |thread| {
            let builder = thread::Builder::new().name(STORE_THREAD.to_owned());
            builder.spawn_scoped(scope, move || work(thread, threads)).map_err(E::from)
        };
        let others = (1..threads).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let own = work(0, threads);
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    })
}

/// Reads and verifies everything; `None` if the tree is empty. The records lie in the order of a hash, so that each thread
/// has an equal share of them.
pub(super) fn scan(db: &::sled::Db) -> Result<Option<Content>, ReadError> {
    let ledger = ledger(db)?;
    let mut samples = Samples::default();
    each(db.iter().take(SAMPLED), |decoded| {
        if !samples.pack(&decoded.key, decoded.revision, decoded.expires, &decoded.value).1 {
            samples.add(&decoded.key, &decoded.value);
        }
    })?;
    let shares: Vec<Share> = in_threads(|thread, threads| {
        let bound = |thread: usize| u8::try_from(256 * thread / threads).ok().map(|first| [first]);
        let (from, to) = (bound(thread), bound(thread + 1));
        let from = from.as_ref().map_or(Bound::Unbounded, |from| Bound::Included(from.as_slice()));
        let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(to.as_slice()));
        read_range(db.range::<&[u8], _>((from, to)), &samples)
    })?;
    let Some(ledger) = ledger else {
        return if shares.iter().all(|share| share.records.is_empty()) { Ok(None) } else { Err(Damage::Ledger.into()) };
    };
    let mut found = Ledger::new(String::new());
    let mut records = Vec::with_capacity(shares.iter().map(|share| share.records.len()).sum());
    for share in shares {
        if let Some((_, key)) = share.newest.filter(|(revision, _)| *revision > ledger.revision) {
            return Err(Damage::Record { key, flaw: Flaw::FromTheFuture }.into());
        }
        found.include(&share.found);
        records.extend(share.records);
    }
    compare(&found, &ledger)?;
    let entries = Packed::new(records, samples);
    Ok(Some(Content { ledger, entries, is_of_image: false }))
}

/// Compares the records that were found with those that the ledger counts.
pub(super) fn compare(found: &Ledger, ledger: &Ledger) -> Result<(), Damage> {
    if (found.records, found.sum) == (ledger.records, ledger.sum) {
        Ok(())
    } else {
        Err(Damage::Sum { counted: ledger.records, found: found.records })
    }
}

/// What one thread has read.
struct Share {
    found: Ledger,
    /// The latest revision, with the key of its record.
    newest: Option<(Revision, String)>,
    /// In the order of their keys.
    records: Vec<Record>,
}

fn read_range(items: ::sled::Iter, samples: &Samples) -> Result<Share, ReadError> {
    let mut share = Share { found: Ledger::new(String::new()), newest: None, records: Vec::new() };
    each(items, |decoded| {
        let Decoded { key, revision, expires, value, checksum } = decoded;
        share.found.add(&checksum);
        share.records.push(samples.pack(&key, revision, expires, &value).0);
        if share.newest.as_ref().is_none_or(|(newest, _)| *newest < revision) {
            share.newest = Some((revision, key));
        }
    })?;
    share.records = sorted(share.records);
    Ok(share)
}

/// Puts the records together from their chunks and verifies each.
fn each(
    items: impl Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>>,
    mut take: impl FnMut(Decoded),
) -> Result<(), ReadError> {
    let mut assembly = Assembly::default();
    for item in items {
        let (key, value) = item?;
        if key == LEDGER_KEY {
            continue;
        }
        if let Some(whole) = assembly.take(&key, &value)? {
            take(whole.decoded()?);
        }
    }
    if let Some(whole) = assembly.last() {
        take(whole.decoded()?);
    }
    Ok(())
}

/// The chunks of one record, in the order of their keys.
#[derive(Default)]
pub(super) struct Assembly {
    place: Vec<u8>,
    chunks: usize,
    envelope: Vec<u8>,
}

impl Assembly {
    /// Adds a chunk. If it is the first of another record, returns the completed record before it.
    pub(super) fn take(&mut self, key: &[u8], chunk: &[u8]) -> Result<Option<Self>, Damage> {
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

    /// The last record, if there is any.
    pub(super) fn last(self) -> Option<Self> {
        (!self.place.is_empty()).then_some(self)
    }

    pub(super) fn decoded(&self) -> Result<Decoded, Damage> {
        record::decode(&self.place, &self.envelope).map_err(|(key, flaw)| Damage::Record {
            key: key.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(&self.place)),
            flaw,
        })
    }
}

fn unreadable(key: &[u8]) -> Damage {
    Damage::Record { key: URL_SAFE_NO_PAD.encode(key), flaw: Flaw::Unreadable }
}
