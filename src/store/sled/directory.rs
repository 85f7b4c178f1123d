//! The store's directory: created for its user alone, locked, and checked before anything is written into it.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::sled::mark::MARK;
use crate::store::sled::mark::Mark;
use crate::store::sled::mark::NEW_MARK;
use crate::store::sled::open_error::OpenError;
use crate::store::sled::scan::Damage;

const LOCK: &str = "LOCK";
/// The directory at the root of a new ext4 volume.
const LOST_AND_FOUND: &str = "lost+found";

/// The held lock, released on drop.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a child process that is being started holds a copy of the descriptor until its
    /// `exec`.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the store's lock was not released");
        }
    }
}

/// Creates the directory if it does not exist.
pub(super) fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    // Only this service's user may read registrations and sealed keys.
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let parent = fs::canonicalize(directory)?;
    parent.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Takes the rights of group and others from all files of the store. sled creates its files by the umask, and a volume
/// that is shared by group (`fsGroup` of Kubernetes) gives them rights at each mount; the directory itself then belongs to
/// another user. A file of another user is left as it is, with a warning.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == LOST_AND_FOUND {
            continue;
        }
        let kind = entry.file_type()?;
        let mode = entry.metadata()?.permissions().mode();
        if !kind.is_symlink() && mode & 0o077 != 0 {
            let private = Permissions::from_mode(mode & 0o700);
            if let Err(error) = fs::set_permissions(entry.path(), private) {
                let path = entry.path();
                tracing::warn!(path = %path.display(), %error, "a file of the store may be read by other users of this machine");
            }
        }
        if kind.is_dir() {
            make_private(&entry.path())?;
        }
    }
    Ok(())
}

/// Acquires the lock.
pub(super) fn lock(directory: &Path) -> Result<Lock, OpenError> {
    let names = names_in(directory)?;
    let is_store = names.iter().any(|name| name == LOCK || name == MARK);
    if !is_store && names.iter().any(|name| name != LOST_AND_FOUND) {
        return Err(OpenError::Foreign { directory: directory.to_owned() });
    }
    let io = |source| OpenError::of_system(directory, source);
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let lock = options.open(directory.join(LOCK)).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Writes the store's name into the lock file. A directory in which everything else was removed is thereby not treated
/// as new.
pub(super) fn name_store_in_lock(Lock(lock): &mut Lock, store: &str) -> io::Result<()> {
    if lock.metadata()?.len() > 0 {
        return Ok(());
    }
    lock.write_all(store.as_bytes())?;
    lock.sync_all()
}

/// Opens the mark, or creates it if there was never a store here.
pub(super) fn open_or_create_mark(directory: &Path, Lock(lock): &Lock) -> Result<Mark, OpenError> {
    let io = |source| OpenError::of_system(directory, source);
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

fn names_in(directory: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::of_system(directory, source);
    let names = fs::read_dir(directory).map_err(io)?;
    names.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(io)).collect()
}
