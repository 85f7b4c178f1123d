//! A temporary copy of a store's directory.

use std::env;
use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Directories that opening a store does not need.
const LEFT_OUT: [&str; 3] = ["set-aside", "trial", "compact.new"];

/// The margin that is added to the size of the copy, in bytes. Twice the sum must be free.
const MARGIN: u64 = 16 * 1024 * 1024;

/// The copy's directory, removed on drop.
#[derive(Debug)]
pub(in crate::cli) struct Copy(PathBuf);

/// Why the copy failed.
#[derive(Debug)]
pub(in crate::cli) enum NoCopy {
    /// The store cannot be read.
    Source(io::Error),
    /// No directory has room for it.
    NoPlace,
}

impl Copy {
    /// Copies a store that no process has open. In a container with a read-only root, shared memory is writable.
    pub(in crate::cli) fn of(store: &Path) -> Result<Self, NoCopy> {
        let size = size_of(store).map_err(NoCopy::Source)?;
        let places = [env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/dev/shm")];
        let copy = places.iter().filter(|place| has_room(place, size)).find_map(|place| Self::make(place).ok());
        let copy = copy.ok_or(NoCopy::NoPlace)?;
        match copy_into(store, &copy.0) {
            Ok(()) => Ok(copy),
            // Another process has used the room meanwhile.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(NoCopy::NoPlace),
            Err(error) => Err(NoCopy::Source(error)),
        }
    }

    fn make(place: &Path) -> io::Result<Self> {
        let mut random = [0; 12];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let directory = place.join(format!("lanyard-copy-{}", URL_SAFE_NO_PAD.encode(random)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }

    /// The copy's path.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            crate::cli::output::note(&format!("{} cannot be removed: {error}", self.0.display()));
        }
    }
}

fn has_room(place: &Path, size: u64) -> bool {
    rustix::fs::statvfs(place).is_ok_and(|statistics| {
        let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
        free > size.saturating_add(MARGIN).saturating_mul(2)
    })
}

fn size_of(directory: &Path) -> io::Result<u64> {
    let mut size: u64 = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size = size.saturating_add(if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() });
    }
    Ok(size)
}

fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            DirBuilder::new().mode(0o700).create(&target)?;
            copy_into(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
