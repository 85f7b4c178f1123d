//! A file that is whole or not there: it is written beside its place, and takes it once it is synced.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufWriter;
use std::io::ErrorKind;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

/// A file under another name. What is dropped without [`WholeFile::finish`] is removed.
#[derive(Debug)]
pub(in crate::cli) struct WholeFile {
    file: BufWriter<File>,
    unfinished: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl WholeFile {
    /// Begins a file that will replace the one at a path, in a folder that is there. Only its owner may read it.
    pub(in crate::cli) fn create(path: &Path) -> io::Result<Self> {
        let unfinished = unfinished(path)?;
        // One that was left would keep its permissions.
        remove_if_present(&unfinished)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        Ok(Self { file: BufWriter::new(file), unfinished, path: path.to_owned(), finished: false })
    }

    /// The path that it will have.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes more.
    pub(in crate::cli) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// What was written so far, to be read.
    pub(in crate::cli) fn written(&mut self) -> io::Result<File> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        File::open(&self.unfinished)
    }

    /// Puts the file in its place. Readers find the one before it or this one, whole. It is synced when this returns.
    pub(in crate::cli) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        self.finished = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.finished {
            // Ignore a second error: the first one is reported.
            let _removed = remove_if_present(&self.unfinished).is_ok();
        }
    }
}

/// Removes a file, and an unfinished one that was left behind. Neither need be there.
pub(in crate::cli) fn remove(path: &Path) -> io::Result<()> {
    let removed = remove_if_present(path);
    remove_if_present(&unfinished(path)?).and(removed)
}

fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(ErrorKind::IsADirectory)?);
    name.push(".unfinished");
    Ok(path.with_file_name(name))
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
