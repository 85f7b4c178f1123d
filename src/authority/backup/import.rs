//! Writing records into a store: all of them, or none that counts.
//!
//! A transaction holds at most 128 records, so an import takes many. The first one writes a mark, and the last one deletes
//! it; in between no server starts on the store. After an interruption the same import again finishes, and [`clear`] deletes
//! what was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authority::backup::batches::Batches;
use crate::authority::backup::export::digest;
use crate::authority::backup::mark::IMPORT;
use crate::authority::backup::mark::ImportMark;
use crate::authority::backup::moved::MovedRecord;
use crate::authority::backup::moved::in_use;
use crate::authority::backup::moved::is_moved;
use crate::authority::backup::verify::Fault;
use crate::authority::backup::verify::verify;
use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::keys::KeySealer;
use crate::authority::registration::MAX_TTL;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::store::Expected;
use crate::authority::store::Listing;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;

/// What is to be written.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The records, in the order of their keys.
    pub records: &'a [MovedRecord],
    /// Whether the store may hold other records. They stay as they are.
    pub merge: bool,
    /// The refusal of all tokens that were issued until now; `None` where they stay valid.
    pub cutoff: Option<Cutoff<'a>>,
}

/// The refusal of all tokens that were issued until the import.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cutoff<'a> {
    /// Who refuses them, in the record.
    pub by: &'a str,
    /// A moment that the cutoff is not before: the clock of the server whose tokens they are may be ahead.
    pub not_before: Timestamp,
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Imported {
    /// The records that were written now.
    pub written: usize,
    /// Those that the store had already, each with the same value.
    pub present: usize,
    /// Those that have expired since they were exported, and were left out.
    pub expired: usize,
    /// Whether an interrupted import was finished.
    pub resumed: bool,
}

/// Why nothing was imported, or an import was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed. What it has of the import does not count until the same import is made again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Servers that share the store use it.
    #[error("the server {0} uses the store")]
    InUse(String),
    /// The store holds records.
    #[error("the store is not empty: it has {records} records, {example} among them")]
    NotEmpty {
        /// How many.
        records: usize,
        /// The key of one.
        example: String,
    },
    /// The store has other values at these keys.
    #[error("the store has other records at {} of the keys", .0.len())]
    Conflicts(Vec<String>),
    /// Another import into this store was interrupted.
    #[error("an import of other records into this store was not finished")]
    Unfinished,
    /// There is no import to clear.
    #[error("no import into this store is unfinished")]
    Finished,
    /// No server would start on these records.
    #[error("{} of the records cannot be used", .0.len())]
    Faults(Vec<Fault>),
    /// The mark or the cutoff cannot be written.
    #[error("the mark of the import cannot be serialized")]
    Unserializable,
}

type Present<'a> = BTreeMap<&'a str, &'a Versioned<Arc<[u8]>>>;

/// Writes records into a store that no server uses. Nothing is written unless all of them can be. `progress` is told how many
/// of them are done.
///
/// # Errors
/// See [`ImportError`]: nothing was written, unless the store failed.
pub async fn import(
    store: &dyn Store,
    plan: &Plan<'_>,
    sealer: &KeySealer,
    clock: &dyn Clock,
    progress: impl Fn(usize),
) -> Result<Imported, ImportError> {
    let listing = unused(store).await?;
    let sha256 = digest(plan.records).map_err(|_| ImportError::Unserializable)?;
    let present: Present<'_> =
        listing.entries.iter().filter(|(key, _)| is_moved(key)).map(|(key, stored)| (key.as_str(), stored)).collect();
    let mark = marked(&listing, &sha256)?;
    if mark.is_none() && !plan.merge && !present.is_empty() {
        let example = present.keys().next().copied().unwrap_or_default().to_owned();
        return Err(ImportError::NotEmpty { records: present.len(), example });
    }
    check(plan, &present, sealer)?;
    let mark_revision = if let Some(revision) = mark {
        revision
    } else {
        let mark = ImportMark::new(&sha256, clock.now()).to_bytes().ok_or(ImportError::Unserializable)?;
        store.put(IMPORT, mark, Expected::Absent).await?
    };
    let mut imported = Imported { written: 0, present: 0, expired: 0, resumed: mark.is_some() };
    let mut batches = Batches::new(store);
    for MovedRecord { key, value, expires } in plan.records {
        if present.contains_key(key.as_str()) {
            imported.present += 1;
        } else if expires.is_some_and(|expires| expires <= clock.now()) {
            imported.expired += 1;
        } else {
            let write = |batch: Transaction| put(batch.compare(key, Expected::Absent), key, value, *expires);
            batches.add(key, value.len(), write).await?;
            imported.written += 1;
        }
        progress(imported.written + imported.present + imported.expired);
    }
    batches.flush().await?;
    let mut last = Transaction::default().compare(IMPORT, Expected::At(mark_revision)).delete(IMPORT);
    if let Some(Cutoff { by, not_before }) = plan.cutoff {
        let now = clock.now().max(not_before);
        // No token that was issued until now is valid for longer.
        let cutoff = RevocationRecord::new(now, by, Some(now.after(MAX_TTL)));
        last = last.put(&Revoked::AllIssued.store_key(), cutoff.to_bytes().ok_or(ImportError::Unserializable)?);
    }
    store.transact(last).await?;
    Ok(imported)
}

/// All records of a store that no server uses.
async fn unused(store: &dyn Store) -> Result<Listing, ImportError> {
    let listing = store.list("").await?;
    match in_use(&listing) {
        Some(server) => Err(ImportError::InUse(server.to_owned())),
        None => Ok(listing),
    }
}

fn put(batch: Transaction, key: &str, value: &[u8], expires: Option<Timestamp>) -> Transaction {
    match expires {
        Some(expires) => batch.put_until(key, value.to_vec(), expires),
        None => batch.put(key, value.to_vec()),
    }
}

/// The revision of the mark of an interrupted import of the same records; `None` where there is no mark.
fn marked(listing: &Listing, sha256: &str) -> Result<Option<Revision>, ImportError> {
    let Some((_, stored)) = listing.entries.iter().find(|(key, _)| key == IMPORT) else { return Ok(None) };
    match ImportMark::from_bytes(&stored.value) {
        Some(mark) if mark.sha256 == sha256 => Ok(Some(stored.revision)),
        Some(_) | None => Err(ImportError::Unfinished),
    }
}

/// Refuses what a server would not start on, and what would change a record that is there.
fn check(plan: &Plan<'_>, present: &Present<'_>, sealer: &KeySealer) -> Result<(), ImportError> {
    let differs = |record: &&MovedRecord| present.get(record.key.as_str()).is_some_and(|stored| !record.is(stored));
    let conflicts: Vec<String> = plan.records.iter().filter(differs).map(|record| record.key.clone()).collect();
    if !conflicts.is_empty() {
        return Err(ImportError::Conflicts(conflicts));
    }
    let mut all: BTreeMap<&str, &[u8]> = present.iter().map(|(key, stored)| (*key, &*stored.value)).collect();
    all.extend(plan.records.iter().map(|record| (record.key.as_str(), &*record.value)));
    let mut faults = verify(all.into_iter(), sealer).faults;
    faults.retain(|fault| !fault.wrong.is_harmless());
    if faults.is_empty() { Ok(()) } else { Err(ImportError::Faults(faults)) }
}

/// Deletes what an interrupted import wrote, and its mark. Returns how many records.
///
/// # Errors
/// [`ImportError::Finished`] where there is no mark, or those of the store.
pub async fn clear(store: &dyn Store) -> Result<usize, ImportError> {
    let listing = unused(store).await?;
    let mark = listing.entries.iter().find(|(key, _)| key == IMPORT).map(|(_, stored)| stored.revision);
    let mark = mark.ok_or(ImportError::Finished)?;
    // No server has written since: none starts while the mark is there.
    let written = listing.entries.iter().filter(|(key, stored)| is_moved(key) && stored.revision > mark);
    let mut batches = Batches::new(store);
    let mut cleared = 0;
    for (key, stored) in written {
        let write = |batch: Transaction| batch.compare(key, Expected::At(stored.revision)).delete(key);
        batches.add(key, 0, write).await?;
        cleared += 1;
    }
    batches.flush().await?;
    store.delete(IMPORT, Expected::At(mark)).await?;
    Ok(cleared)
}
