//! sled's own files: opening them with panics turned into errors, and the second attempt without snapshots.

use std::fs;
use std::fs::File;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;

use crate::store::sled::image;
use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::scan::Content;
use crate::store::sled::scan::Damage;
use crate::store::sled::scan::ReadError;
use crate::store::sled::scan::ledger;
use crate::store::sled::scan::scan;

/// The directory for snapshots that sled could not open with. Snapshots only speed up opening; the log has everything.
const SET_ASIDE: &str = "set-aside";
/// The directory in which opening without snapshots is tried first.
const TRIAL: &str = "trial";
/// What sled keeps of its pages. They are read at the start, and where they are written to.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// An open sled database and its content, or `None` if it is empty.
pub(super) type Attempt = (::sled::Db, Option<Content>);

/// What the records are read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// The log itself.
    Log,
    /// The image, where it is that of the log.
    Image,
}

/// The path of sled's log in `directory`.
pub(super) fn log_path(directory: &Path) -> PathBuf {
    directory.join("db")
}

/// Waits until sled's lock on its log is free. sled releases it shortly after its last handle is dropped; a child
/// process that is being started releases it at its `exec`.
pub(super) fn wait_until_free(directory: &Path) -> io::Result<()> {
    match File::open(log_path(directory)) {
        Ok(log) => log.lock().and_then(|()| log.unlock()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens sled in `directory`. If that fails because of damage, opens it once more without its snapshots, provided that
/// `is_valid` accepts the ledger that is then found.
pub(super) fn open(directory: &Path, source: Source, is_valid: impl Fn(&Ledger) -> bool) -> Result<Attempt, ReadError> {
    let damage = match attempt(directory, source) {
        Err(ReadError::Damaged(damage)) => damage,
        outcome => return outcome,
    };
    if !matches!(damage, Damage::Engine(_) | Damage::Panic(_)) || !opens_without_snapshots(directory, is_valid) {
        return Err(damage.into());
    }
    tracing::warn!(directory = %directory.display(), %damage, "opening without sled's snapshots, which are moved to set-aside");
    set_snapshots_aside(directory).map_err(ReadError::System)?;
    attempt(directory, source)
}

/// Opens sled and reads everything. A panic of sled becomes an error here.
fn attempt(directory: &Path, source: Source) -> Result<Attempt, ReadError> {
    wait_until_free(directory).map_err(ReadError::System)?;
    let open = || -> Result<_, ReadError> {
        let config = ::sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // The writer flushes; a second flushing thread would only compete with it.
            .flush_every_ms(None)
            .use_compression(false);
        let db = config.open()?;
        let of_image = match source {
            Source::Image => ledger(&db)?.and_then(|ledger| Some((image::read(directory, &ledger)?, ledger))),
            Source::Log => None,
        };
        let content = match of_image {
            Some((entries, ledger)) => Some(Content { ledger, entries, is_of_image: true }),
            None => scan(&db)?,
        };
        Ok((db, content))
    };
    panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
        Err(Damage::Panic(text.to_owned()).into())
    })
}

/// Tries on a copy: if the log is damaged too, sled without a snapshot treats it as empty and wipes it.
fn opens_without_snapshots(directory: &Path, is_valid: impl Fn(&Ledger) -> bool) -> bool {
    let trial = directory.join(TRIAL);
    let copied = fs::create_dir(&trial)
        .and_then(|()| fs::copy(log_path(directory), log_path(&trial)))
        .and_then(|_| fs::copy(directory.join("conf"), trial.join("conf")));
    let opens =
        copied.is_ok() && matches!(attempt(&trial, Source::Log), Ok((_, Some(content))) if is_valid(&content.ledger));
    remove_trial(directory).is_ok() && opens
}

/// Removes the files of an interrupted or failed trial.
pub(super) fn remove_trial(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory.join(TRIAL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Moves the snapshots to where sled does not read them.
fn set_snapshots_aside(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::create_dir_all(directory.join(SET_ASIDE))?;
            fs::rename(entry.path(), directory.join(SET_ASIDE).join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Removes snapshots that were being written when the process died. sled would read such a one as the newest complete
/// snapshot.
pub(super) fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the snapshots, which only speed up opening, and what sled keeps beside its log.
pub(super) fn remove_snapshots(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "blobs" {
            fs::remove_dir_all(entry.path())?;
        } else if name.starts_with("snap.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes all of sled's files, for a store that was never finished.
pub(super) fn remove_files(directory: &Path) -> io::Result<()> {
    remove_snapshots(directory)?;
    for name in ["db", "conf"] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes the first ledger, and syncs sled's files and their directory entries.
pub(super) fn begin(directory: &Path, db: &::sled::Db, log: &File, store: &str) -> io::Result<Ledger> {
    let ledger = Ledger::new(store.to_owned());
    db.insert(LEDGER_KEY, ledger.encode()?)?;
    db.flush()?;
    log.sync_all()?;
    File::open(directory.join("conf"))?.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(ledger)
}
