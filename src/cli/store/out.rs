//! Where an export goes: a file that is whole or not there, or stdout.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::authority::backup::read;
use crate::cli::error::CommandError;

/// The target of an export.
pub(super) enum Out {
    /// A file, written under another name until it is whole.
    File { file: BufWriter<File>, unfinished: PathBuf, path: PathBuf },
    /// Standard output.
    Stdout,
}

/// What is known of an export that was written.
pub(super) struct Written {
    /// The number of its records.
    pub(super) records: usize,
    /// The store's revision.
    pub(super) revision: u64,
}

impl Out {
    /// Opens the target. Only its owner may read the file.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let named = path.file_name().filter(|_| !path.is_dir());
        let name = named
            .ok_or_else(|| CommandError::new(format!("{} is not a file", path.display()), "name a file with --out"))?;
        let mut unfinished = OsString::from(".");
        unfinished.push(name);
        unfinished.push(".unfinished");
        let unfinished = path.with_file_name(unfinished);
        let refused = |error: io::Error| unwritable(path, &error);
        // One that was left would keep its permissions.
        remove_if_present(&unfinished).map_err(refused)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(refused)?;
        Ok(Self::File { file: BufWriter::new(file), unfinished, path: path.to_owned() })
    }

    /// Writes more of the export.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        match self {
            Self::File { file, path, .. } => file.write_all(bytes).map_err(|error| unwritable(path, &error)),
            Self::Stdout => io::stdout().lock().write_all(bytes).map_err(|error| not_printed(&error)),
        }
    }

    /// Ends the export. A file is read again, and gets its name only if it is a whole export: `None` for stdout.
    pub(super) fn finish(self) -> Result<Option<Written>, CommandError> {
        match self {
            Self::Stdout => io::stdout().lock().flush().map(|()| None).map_err(|error| not_printed(&error)),
            Self::File { file, unfinished, path } => name(file, &unfinished, &path).map(Some).inspect_err(|_| {
                discard(&unfinished);
            }),
        }
    }

    /// Removes what was written, after another error.
    pub(super) fn discard(self) {
        if let Self::File { unfinished, .. } = self {
            discard(&unfinished);
        }
    }
}

/// Gives a file its name, if it is a whole export.
fn name(file: BufWriter<File>, unfinished: &Path, path: &Path) -> Result<Written, CommandError> {
    let refused = |error: io::Error| unwritable(path, &error);
    let file = file.into_inner().map_err(|error| refused(error.into_error()))?;
    file.sync_all().map_err(refused)?;
    let written = File::open(unfinished).map_err(refused)?;
    let export = read(BufReader::new(written))
        .map_err(|error| CommandError::new(format!("what was exported is not whole: {error}"), "try again"))?;
    fs::rename(unfinished, path).map_err(refused)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)?;
    Ok(Written { records: export.records.len(), revision: export.revision.0 })
}

fn discard(unfinished: &Path) {
    // Ignore a second error: the first one is reported.
    let _removed = remove_if_present(unfinished).is_ok();
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    let problem = format!("cannot write {}: {error}", path.display());
    CommandError::new(problem, "name a file with --out, in a folder that you may write to and that has room")
}

fn not_printed(error: &io::Error) -> CommandError {
    CommandError::new(format!("cannot write to stdout: {error}"), "see where the output is sent")
}
