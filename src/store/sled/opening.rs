//! Opening: the store as it was left, or a clear refusal. Nothing here takes a damaged store for a new one.

use std::collections::BTreeMap;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::mark::MARK;
use crate::store::sled::mark::Mark;
use crate::store::sled::mark::NEW_MARK;
use crate::store::sled::mark::Stage;
use crate::store::sled::scan::Content;
use crate::store::sled::scan::Damage;
use crate::store::sled::scan::scan;
use crate::store::table::Entry;

const LOCK: &str = "LOCK";
/// Where snapshots go that sled could not open with. They only speed up opening; the log has everything.
const SET_ASIDE: &str = "set-aside";
/// What a fresh volume has at its root.
const LOST_AND_FOUND: &str = "lost+found";
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Why a store was not opened. Nothing was lost by trying.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory's lock is held.
    #[error("another process uses the store in {}", directory.display())]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// The directory has content that is not a store's.
    #[error("{} is not empty and holds no store: name an empty directory, or the store's own", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },
    /// There was a store here, and a part of it is missing.
    #[error("the store in {} was emptied, {missing} is missing: restore it from an export or a backup", directory.display())]
    Emptied {
        /// The store's directory.
        directory: PathBuf,
        /// The file that is missing, or what is missing in it.
        missing: &'static str,
    },
    /// The log is older than what was already acknowledged, or that of another store.
    #[error(
        "the log of the store in {} ends at revision {found} of store {found_store}, but revision {marked} of store \
         {marked_store} was reached: it was cut short or replaced, restore it from an export or a backup",
        directory.display()
    )]
    RolledBack {
        /// The store's directory.
        directory: PathBuf,
        /// Where the log ends.
        found: u64,
        /// The store that the log is of.
        found_store: String,
        /// The revision that the mark names.
        marked: u64,
        /// The store that the mark is of.
        marked_store: String,
    },
    /// The files are damaged.
    #[error("the store in {} is damaged: {damage}: restore it from an export or a backup", directory.display())]
    Damaged {
        /// The store's directory.
        directory: PathBuf,
        /// What was found.
        damage: Damage,
    },
    /// Opening did not end.
    #[error(
        "the store in {} did not open within {limit:?}: if the disk answers, its files are damaged, restore it from an \
         export or a backup",
        directory.display()
    )]
    Stuck {
        /// The store's directory.
        directory: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The operating system refused something.
    #[error("the store in {} cannot be opened: {source}", directory.display())]
    Io {
        /// The store's directory.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// An open store, before its first request.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: ::sled::Db,
    /// Our own handle on sled's log, kept open from the start so that no failed write-back goes unreported.
    pub(super) log: File,
    pub(super) mark: Mark,
    pub(super) ledger: Ledger,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Held until the store is closed.
    pub(super) lock: File,
}

/// Opens or creates the store in `directory`. May hang where sled does: call it on a thread that can be left behind.
pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    create_directory(directory).map_err(io)?;
    let mut lock = lock(directory)?;
    remove_unfinished_snapshots(directory).map_err(io)?;
    let mut mark = open_or_create_mark(directory, &lock)?;
    let (db, content) = match mark.stage {
        Stage::Creating => {
            // Only what was begun here and never acknowledged anything.
            remove_engine_files(directory).map_err(io)?;
            attempt(directory).map_err(|damage| OpenError::Damaged { directory: directory.to_owned(), damage })?
        }
        Stage::Ready => {
            let log = fs::metadata(log_path(directory)).is_ok_and(|log| log.is_file() && log.len() > 0);
            if !log {
                return Err(OpenError::Emptied { directory: directory.to_owned(), missing: "db" });
            }
            attempt_twice(directory)?
        }
    };
    let log = File::open(log_path(directory)).map_err(io)?;
    let (ledger, entries) = match (mark.stage, content) {
        (Stage::Ready, Some((ledger, entries))) => (ledger, entries),
        (Stage::Ready, None) => {
            return Err(OpenError::Emptied { directory: directory.to_owned(), missing: "everything in the log" });
        }
        (Stage::Creating, _) => (begin(directory, &db, &log, &mark.store).map_err(io)?, BTreeMap::new()),
    };
    if ledger.store != mark.store || ledger.revision < mark.revision {
        return Err(OpenError::RolledBack {
            directory: directory.to_owned(),
            found: ledger.revision.0,
            found_store: ledger.store,
            marked: mark.revision.0,
            marked_store: mark.store,
        });
    }
    // What the tree shows now may have been written but not synced when the last process died.
    log.sync_all().map_err(io)?;
    mark.settle(ledger.revision).map_err(io)?;
    name_store_in_lock(&mut lock, &ledger.store).map_err(io)?;
    Ok(Opened { db, log, mark, ledger, entries, lock })
}

/// Waits until sled has let go of its log: it does so a little after its last handle is dropped.
pub(super) fn wait_for_engine(directory: &Path) -> io::Result<()> {
    match File::open(log_path(directory)) {
        Ok(log) => log.lock(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("db")
}

fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    // Registrations and sealed keys are for this service's user alone.
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let parent = fs::canonicalize(directory)?;
    parent.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn names_in(directory: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let names = fs::read_dir(directory).map_err(io)?;
    names.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(io)).collect()
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let names = names_in(directory)?;
    let ours = names.iter().any(|name| name == LOCK || name == MARK);
    if !ours && names.iter().any(|name| name != LOST_AND_FOUND) {
        return Err(OpenError::Foreign { directory: directory.to_owned() });
    }
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let lock = options.open(directory.join(LOCK)).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// The lock file names the store once it is made: a directory where all but that was removed is no fresh one.
fn name_store_in_lock(lock: &mut File, store: &str) -> io::Result<()> {
    if lock.metadata()?.len() > 0 {
        return Ok(());
    }
    lock.write_all(store.as_bytes())?;
    lock.sync_all()
}

/// A snapshot that was being written when the process died; sled would take it for the newest whole one.
fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_or_create_mark(directory: &Path, lock: &File) -> Result<Mark, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let names = names_in(directory)?;
    if names.iter().any(|name| name == MARK) {
        let mark = Mark::open(directory).map_err(io)?;
        return mark.ok_or_else(|| OpenError::Damaged { directory: directory.to_owned(), damage: Damage::Mark });
    }
    let before_the_mark = [LOCK, NEW_MARK, LOST_AND_FOUND];
    let others = names.iter().any(|name| !before_the_mark.contains(&name.as_str()));
    if others || lock.metadata().map_err(io)?.len() > 0 {
        return Err(OpenError::Emptied { directory: directory.to_owned(), missing: MARK });
    }
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io(io::Error::other("no randomness")))?;
    Mark::create(directory, URL_SAFE_NO_PAD.encode(random)).map_err(io)
}

fn remove_engine_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "blobs" {
            fs::remove_dir_all(entry.path())?;
        } else if name == "db" || name == "conf" || name.starts_with("snap.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn attempt_twice(directory: &Path) -> Result<(::sled::Db, Option<Content>), OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let first = match attempt(directory) {
        Ok(opened) => return Ok(opened),
        Err(damage) => damage,
    };
    let engine = matches!(first, Damage::Engine(_) | Damage::Panic(_));
    if engine && set_snapshots_aside(directory).map_err(io)? {
        tracing::warn!(directory = %directory.display(), damage = %first, "opening again without snapshots");
        if let Ok(opened) = attempt(directory) {
            return Ok(opened);
        }
    }
    Err(OpenError::Damaged { directory: directory.to_owned(), damage: first })
}

/// Opens sled and reads everything. What it panics over becomes an error here.
fn attempt(directory: &Path) -> Result<(::sled::Db, Option<Content>), Damage> {
    wait_for_engine(directory).map_err(|error| Damage::Engine(error.to_string()))?;
    let open = || -> Result<_, Damage> {
        let config = ::sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // The writer flushes; a second thread that does would only be in its way.
            .flush_every_ms(None)
            .use_compression(false);
        let db = config.open()?;
        let content = scan(&db)?;
        Ok((db, content))
    };
    panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
        Err(Damage::Panic(text.to_owned()))
    })
}

/// Moves the snapshots out of sled's way; says whether there were any.
fn set_snapshots_aside(directory: &Path) -> io::Result<bool> {
    let mut moved = false;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::create_dir_all(directory.join(SET_ASIDE))?;
            fs::rename(entry.path(), directory.join(SET_ASIDE).join(entry.file_name()))?;
            moved = true;
        }
    }
    Ok(moved)
}

/// Writes the first ledger and makes all of sled's files durable, with their names.
fn begin(directory: &Path, db: &::sled::Db, log: &File, store: &str) -> io::Result<Ledger> {
    let ledger = Ledger::new(store.to_owned());
    db.insert(LEDGER_KEY, ledger.encode()?)?;
    db.flush()?;
    log.sync_all()?;
    File::open(directory.join("conf"))?.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(ledger)
}
