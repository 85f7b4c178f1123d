//! What is configured of the trail, and why it cannot be written.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::telemetry::otlp;
use crate::telemetry::otlp::OtlpError;

/// Where the audit trail goes, besides the log.
#[derive(Clone, Debug)]
pub struct Config {
    /// The private key that signs the last hash, P-256 in PEM. Without one nothing is signed.
    pub key: Option<PathBuf>,
    /// A file.
    pub file: Option<FileConfig>,
    /// Whether it goes to standard output.
    pub stdout: bool,
    /// A collector of OTLP logs.
    pub otlp: Option<otlp::Config>,
}

/// The file of the audit trail.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// Where it is.
    pub path: PathBuf,
    /// The size in bytes from which on it is renamed and another begun.
    pub max_bytes: u64,
    /// The time since its first record after which the same is done.
    pub max_age: Option<Duration>,
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
    /// The collector cannot be used as it is configured.
    #[error("the audit trail cannot be sent: {0}")]
    Otlp(#[from] OtlpError),
    /// Standard output cannot be used, or a thread does not start.
    #[error("the audit trail cannot begin: {error}")]
    Thread {
        /// What the system says.
        error: io::Error,
    },
    /// The first line cannot be made.
    #[error("the audit trail cannot begin: its first line is no JSON")]
    FirstLine,
}
