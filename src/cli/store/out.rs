//! Where an export goes: a file that is whole or not there, or stdout.

use std::io;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;

use crate::authority::backup::read;
use crate::cli::error::CommandError;
use crate::cli::progress::Progress;
use crate::cli::whole_file::WholeFile;

/// The target of an export.
pub(super) enum Out {
    /// A file, which is there once it is whole.
    File(WholeFile),
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
        if path.file_name().is_none() || path.is_dir() {
            return Err(CommandError::new(format!("{} is not a file", path.display()), "name a file with --out"));
        }
        WholeFile::create(path).map(Self::File).map_err(|error| unwritable(path, &error))
    }

    /// The line that says how far it has come, where the export itself does not go to a terminal.
    pub(super) fn progress(&self, of: Option<usize>) -> Option<Progress> {
        match self {
            Self::File(_) => Some(Progress::new("exported", of)),
            Self::Stdout => None,
        }
    }

    /// Writes more of the export.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        match self {
            Self::File(file) => file.write(bytes).map_err(|error| unwritable(file.path(), &error)),
            Self::Stdout => io::stdout().lock().write_all(bytes).map_err(|error| not_printed(&error)),
        }
    }

    /// Ends the export. A file is read again, and gets its name only if it is a whole export: `None` for stdout.
    pub(super) fn finish(self) -> Result<Option<Written>, CommandError> {
        match self {
            Self::Stdout => io::stdout().lock().flush().map(|()| None).map_err(|error| not_printed(&error)),
            Self::File(file) => name(file).map(Some),
        }
    }
}

/// Gives a file its name, if it is a whole export.
fn name(mut file: WholeFile) -> Result<Written, CommandError> {
    let path = file.path().to_owned();
    let refused = |error: io::Error| unwritable(&path, &error);
    let export = read(BufReader::new(file.written().map_err(refused)?))
        .map_err(|error| CommandError::new(format!("what was exported is not whole: {error}"), "try again"))?;
    file.finish().map_err(refused)?;
    Ok(Written { records: export.records.len(), revision: export.revision.0 })
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    let problem = format!("cannot write {}: {error}", path.display());
    CommandError::new(problem, "name a file with --out, in a folder that you may write to and that has room")
}

fn not_printed(error: &io::Error) -> CommandError {
    CommandError::new(format!("cannot write to stdout: {error}"), "see where the output is sent")
}
