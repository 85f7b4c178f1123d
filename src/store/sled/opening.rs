//! Opening a store: as it was left, or with an error. A damaged store is never replaced by a new one.

use std::fs;
use std::fs::File;
use std::path::Path;

use crate::store::packed::Packed;
use crate::store::sled::directory;
use crate::store::sled::directory::Lock;
use crate::store::sled::engine;
use crate::store::sled::engine::Source;
use crate::store::sled::image;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::mark::Mark;
use crate::store::sled::mark::Stage;
use crate::store::sled::open_error::OpenError;
use crate::store::sled::recheck::Recheck;
use crate::store::sled::replacement;
use crate::store::sled::scan::Content;
use crate::store::sled::scan::ReadError;

/// Opens or creates the store in `path`. It can hang where sled does, so call it on a thread that can be abandoned.
pub(super) fn open(path: &Path, source: Source) -> Result<Opened, OpenError> {
    let io = |source| OpenError::of_system(path, source);
    let unread = |error| match error {
        ReadError::Damaged(damage) => OpenError::damaged(path, damage),
        ReadError::System(source) => OpenError::of_system(path, source),
    };
    directory::create(path).map_err(io)?;
    let mut lock = directory::lock(path)?;
    directory::make_private(path).map_err(io)?;
    engine::remove_unfinished_snapshots(path).map_err(io)?;
    engine::remove_trial(path).map_err(io)?;
    image::remove_unfinished(path).map_err(io)?;
    let mut mark = directory::open_or_create_mark(path, &lock)?;
    replacement::finish(path, &mark, &lock).map_err(io)?;
    let is_valid = |ledger: &Ledger| ledger.store == mark.store && ledger.revision >= mark.revision;

    let (db, content) = match mark.stage {
        Stage::Creating => {
            // These files are of a store that was never finished and acknowledged nothing.
            engine::remove_files(path).map_err(io)?;
            engine::open(path, source, is_valid).map_err(unread)?
        }
        Stage::Ready => {
            if !fs::metadata(engine::log_path(path)).is_ok_and(|log| log.is_file() && log.len() > 0) {
                return Err(OpenError::Emptied { directory: path.to_owned(), missing: "db" });
            }
            engine::open(path, source, is_valid).map_err(unread)?
        }
    };
    directory::make_private(path).map_err(io)?;
    let log = File::open(engine::log_path(path)).map_err(io)?;
    let Content { ledger, entries, is_of_image } = match (mark.stage, content) {
        (Stage::Ready, Some(content)) => content,
        (Stage::Ready, None) => {
            return Err(OpenError::Emptied { directory: path.to_owned(), missing: "everything in the log" });
        }
        (Stage::Creating, _) => {
            let ledger = engine::begin(path, &db, &log, &mark.store).map_err(io)?;
            Content { ledger, entries: Packed::default(), is_of_image: false }
        }
    };
    if !is_valid(&ledger) {
        return Err(OpenError::RolledBack {
            directory: path.to_owned(),
            found: ledger.revision.0,
            found_store: ledger.store,
            marked: mark.revision.0,
            marked_store: mark.store,
        });
    }
    // The last process may have written what the tree shows without syncing it before it died.
    log.sync_all().map_err(io)?;
    mark.settle(ledger.revision).map_err(io)?;
    directory::name_store_in_lock(&mut lock, &ledger.store).map_err(io)?;
    let recheck = is_of_image.then(Recheck::default);
    Ok(Opened { db, log, mark, ledger, entries, recheck, lock })
}

/// An open store, before its first request.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: ::sled::Db,
    /// A handle of its own on sled's log, open from the start, so that no failed write-back goes unreported.
    pub(super) log: File,
    pub(super) mark: Mark,
    pub(super) ledger: Ledger,
    pub(super) entries: Packed,
    /// What is still to be read of the log, where the entries are from the image.
    pub(super) recheck: Option<Recheck>,
    /// Held until the store is closed.
    pub(super) lock: Lock,
}
