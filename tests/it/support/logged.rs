//! What this thread logs.

use std::fs;

use tempfile::NamedTempFile;
use tracing::Level;
use tracing::subscriber;

/// The lines that are logged while this runs, and what it comes to.
pub fn logged<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let log = NamedTempFile::new().unwrap();
    let to = log.reopen().unwrap();
    let lines = tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false).with_writer(to).finish();
    let outcome = subscriber::with_default(lines, run);
    (outcome, fs::read_to_string(log.path()).unwrap().lines().map(str::to_owned).collect())
}
