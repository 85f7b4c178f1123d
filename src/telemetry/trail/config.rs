//! What is configured of the file, and why it cannot be used.

use std::io;
use std::path::PathBuf;

/// Where the audit trail is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// The private key that signs the last hash, P-256 in PEM. Without one nothing is signed.
    pub key: Option<PathBuf>,
    /// The size in bytes from which on the file is renamed and another begun.
    pub max_bytes: u64,
    /// How many renamed files are kept.
    pub keep: usize,
}

/// Why the audit trail cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The file cannot be opened.
    #[error("the audit trail {} cannot be written: {error}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The key cannot be used.
    #[error("the key of the audit trail {} cannot be used: {problem}", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}
