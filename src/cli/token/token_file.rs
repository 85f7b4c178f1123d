//! Where `--out` writes a token.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::whole_file;
use crate::cli::whole_file::WholeFile;

/// The target of `--out`. Only a regular file is replaced: a rename over a device or a FIFO would put a file with a
/// token in its place.
#[derive(Debug)]
pub(in crate::cli::token) enum TokenTarget {
    /// A regular file, or a name that is not there yet.
    File(TokenFile),
    /// A FIFO or a character device, such as `/dev/stdout`, that the token is written to.
    Stream(PathBuf),
}

impl TokenTarget {
    /// Looks at what is at the path, before a token is requested for it.
    pub(in crate::cli::token) fn at(path: &Path) -> Result<Self, CommandError> {
        let refused = |what: &str| {
            let problem = format!("{} is {what}", path.display());
            Err(CommandError::new(problem, "name a file, a FIFO or a character device with --out"))
        };
        match fs::metadata(path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => Ok(Self::Stream(path.to_owned())),
            Ok(kind) if kind.is_dir() => refused("a directory"),
            Ok(kind) if kind.is_socket() => refused("a socket"),
            Ok(kind) if !kind.is_file() => refused("not a regular file"),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, &error)),
            Ok(_) | Err(_) => TokenFile::new(path).map_or_else(|| refused("not a file"), |file| Ok(Self::File(file))),
        }
    }

    /// Writes a token, whole or not at all where the target is a file.
    pub(in crate::cli::token) fn put(&self, token: &str) -> Result<(), CommandError> {
        match self {
            Self::File(file) => file.put(token).map_err(|error| unwritable(file.path(), &error)),
            Self::Stream(path) => OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut stream| stream.write_all(token.as_bytes()))
                .map_err(|error| unwritable(path, &error)),
        }
    }
}

/// Puts a token that was issued where it is wanted: into the file of `--out`, else on stdout, alone or with what the response says.
pub(in crate::cli::token) fn deliver(
    token: &str,
    target: Option<&TokenTarget>,
    format: Format,
    response: impl FnOnce() -> Value,
) -> Result<ExitCode, CommandError> {
    match (target, format) {
        (Some(target), _) => target.put(token)?,
        (None, Format::Text) => output::print(token)?,
        (None, Format::Json) => output::print_json(&response())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    let problem = format!("cannot write {}: {error}", path.display());
    CommandError::new(problem, "name a file with --out, in a folder that you may write to")
}

/// A file that contains a whole token, or does not exist.
#[derive(Debug)]
pub(in crate::cli::token) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// `None` if the path does not name a file.
    pub(in crate::cli::token) fn new(path: &Path) -> Option<Self> {
        path.file_name().map(|_| Self { path: path.to_owned() })
    }

    pub(in crate::cli::token) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file's content with this token. After an error no other file holds the token.
    pub(in crate::cli::token) fn put(&self, token: &str) -> io::Result<()> {
        let mut file = WholeFile::create(&self.path)?;
        file.write(token.as_bytes())?;
        file.finish()
    }

    /// Removes the file, and an unfinished one.
    pub(in crate::cli::token) fn remove(&self) -> io::Result<()> {
        whole_file::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::MetadataExt as _;

    use tempfile::TempDir;

    use super::*;

    fn names(folder: &TempDir) -> Vec<OsString> {
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_token_replaces_the_previous_one_and_only_its_owner_may_read_it() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new(&path).unwrap();
        // Left behind by a killed process, and readable to all.
        fs::write(folder.path().join(".token.unfinished"), "half").unwrap();
        fs::write(&path, "before, and longer").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        file.put("after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // Not overwritten: a process that has the old file open reads it whole.
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        assert_eq!(names(&folder), ["token"]);
    }

    #[test]
    fn a_character_device_is_written_to_and_replaced_by_nothing() {
        // cases/01: as root, a rename would replace the device for the whole machine.
        assert!(matches!(TokenTarget::at(Path::new("/dev/null")), Ok(TokenTarget::Stream(_))));
        let folder = TempDir::new().unwrap();
        assert!(matches!(TokenTarget::at(&folder.path().join("token")), Ok(TokenTarget::File(_))));
    }

    #[test]
    fn removing_succeeds_with_or_without_a_file() {
        let folder = TempDir::new().unwrap();
        let file = TokenFile::new(&folder.path().join("token")).unwrap();
        file.put("token").unwrap();
        fs::write(folder.path().join(".token.unfinished"), "half").unwrap();
        file.remove().unwrap();
        assert!(names(&folder).is_empty());
        file.remove().unwrap();
    }

    #[test]
    fn a_failed_write_is_an_error() {
        let folder = TempDir::new().unwrap();
        let file = TokenFile::new(&folder.path().join("missing/token")).unwrap();
        assert!(file.put("token").is_err());
        assert!(TokenFile::new(Path::new("/")).is_none());
    }

    #[test]
    fn no_token_is_left_behind_where_its_name_cannot_be_taken() {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("token")).unwrap();
        let file = TokenFile::new(&folder.path().join("token")).unwrap();
        assert!(file.put("token").is_err());
        assert_eq!(names(&folder), ["token"]);
    }
}
