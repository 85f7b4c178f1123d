//! Rewriting a store's files: sled's log does not shrink, whatever is deleted.
//!
//! The records are written, with their revisions, into a new log in a directory beside the old one. That directory is
//! complete and synced before it gets its second name, which decides that it replaces the old log. Whoever opens the store
//! next, after an interruption, moves the files: each step can be repeated.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use crate::store::disk;
use crate::store::packed::Packed;
use crate::store::sled::engine;
use crate::store::sled::engine::Source;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::open_error::OpenError;
use crate::store::sled::opening;
use crate::store::sled::opening::Opened;
use crate::store::sled::record;
use crate::store::sled::replacement::NEW;
use crate::store::sled::replacement::READY;
use crate::store::sled::replacement::REPLACES;
use crate::store::sled::replacement::finish;
use crate::store::sled::replacement::remove;
use crate::store::sled::replacement::replaces;
use crate::store::sled::scan::Damage;
use crate::store::sled::scan::ReadError;

/// The size of a batch in bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// What became of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compacted {
    /// The number of its records.
    pub records: usize,
    /// What its directory took of the disk, in bytes.
    pub before: u64,
    /// What it takes now.
    pub after: u64,
}

/// Rewrites the files of a store: see [`compact`](crate::store::sled::compact).
pub(super) fn compact(directory: &Path) -> Result<Compacted, OpenError> {
    let io = |source| OpenError::of_system(directory, source);
    let used = || disk::used(directory).map_err(io);
    let Opened { db, log, mark, ledger, entries, recheck: _, lock } = opening::open(directory, Source::Log)?;
    let before = used()?;
    drop(log);
    close(directory, db).map_err(io)?;
    write_new(directory, &ledger, &entries).map_err(|error| match error {
        ReadError::Damaged(damage) => OpenError::damaged(directory, damage),
        ReadError::System(source) => OpenError::of_system(directory, source),
    })?;
    fs::write(directory.join(NEW).join(REPLACES), replaces(&mark)).map_err(io)?;
    sync_all(&directory.join(NEW)).map_err(io)?;
    fs::rename(directory.join(NEW), directory.join(READY)).map_err(io)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    finish(directory, &mark, &lock).map_err(io)?;
    Ok(Compacted { records: entries.len(), before, after: used()? })
}

/// Writes the new log, and reads it again.
fn write_new(directory: &Path, ledger: &Ledger, entries: &Packed) -> Result<(), ReadError> {
    let new = directory.join(NEW);
    remove(&new).and_then(|()| DirBuilder::new().mode(0o700).create(&new)).map_err(ReadError::System)?;
    let (db, _) = engine::open(&new, Source::Log, |_| true)?;
    let (mut batch, mut bytes) = (::sled::Batch::default(), 0);
    for (key, entry) in entries.entries(Bound::Unbounded) {
        let encoded = record::encode(key, entry.revision, entry.expires, &entry.value);
        for (place, chunk) in encoded.map_err(|error| ReadError::System(error.into()))?.chunks() {
            batch.insert(place.as_slice(), chunk);
            bytes += chunk.len();
        }
        if bytes > BATCH_BYTES {
            db.apply_batch(std::mem::take(&mut batch))?;
            db.flush()?;
            bytes = 0;
        }
    }
    batch.insert(LEDGER_KEY, ledger.encode().map_err(|error| ReadError::System(error.into()))?);
    db.apply_batch(batch)?;
    db.flush()?;
    close(&new, db).map_err(ReadError::System)?;
    let (db, content) = engine::open(&new, Source::Log, |_| true)?;
    close(&new, db).map_err(ReadError::System)?;
    let is_same = |found: &Packed| found.entries(Bound::Unbounded).eq(entries.entries(Bound::Unbounded));
    if !content.is_some_and(|read| read.ledger == *ledger && is_same(&read.entries)) {
        return Err(Damage::Ledger.into());
    }
    // The log has everything, and a snapshot of another log beside it would have to go first.
    engine::remove_snapshots(&new).map_err(ReadError::System)
}

fn close(directory: &Path, db: ::sled::Db) -> io::Result<()> {
    let closed = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
    closed.map_err(|_| io::Error::other("the storage engine panicked when it was closed"))?;
    engine::wait_until_free(directory)
}

fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(directory)?.sync_all()
}
