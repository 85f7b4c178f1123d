//! The file that lines are written to: whole or not at all, and renamed when it is large or old.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::fs::fadvise;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::telemetry::trail::chain::Link;
use crate::telemetry::trail::config::FileConfig;
use crate::telemetry::trail::config::TrailError;
use crate::telemetry::trail::destination::Deliver;
use crate::telemetry::trail::destination::NotDelivered;
use crate::telemetry::trail::lines::Lines;

/// From how many bytes on the kernel is told that it need not keep in memory what was written.
const MANY_BYTES: u64 = 256 << 10;

/// The size of a page, or of a part of one: what is kept of it does no harm.
const PAGE: u64 = 4096;

#[derive(Debug)]
pub(super) struct LogFile {
    config: FileConfig,
    clock: Arc<dyn Clock>,
    file: File,
    /// The bytes of whole lines.
    length: u64,
    /// When its first line was recorded.
    began: Timestamp,
    /// The number of files that were renamed since the start: it orders those of one second.
    renamed: u64,
    /// Whether it could not be renamed, which is logged once.
    is_stuck: bool,
}

impl LogFile {
    /// Opens the file to append to it. A line that a crash cut off gets an end, and stays.
    pub(super) fn open(config: FileConfig, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = open(&config)?;
        let length = file.metadata()?.len();
        let began = first_time(&file)?.unwrap_or(clock.now());
        let mut output = Self { config, clock, file, length, began, renamed: 0, is_stuck: false };
        if length > 0 {
            let mut last = [0];
            output.file.seek(SeekFrom::End(-1))?;
            output.file.read_exact(&mut last)?;
            if last != *b"\n" {
                output.write([b"\n".as_slice()])?;
            }
        }
        Ok(output)
    }

    /// Writes the first line of a chain.
    pub(super) fn begin(&mut self, first: &Lines) -> Result<(), TrailError> {
        self.write([first.text()]).map_err(|error| TrailError::File { file: self.config.path.clone(), error })
    }

    /// Writes whole lines and waits until they are on the disk. What was written of them is taken back if that fails.
    fn write<'a>(&mut self, texts: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut length = self.length;
        let mut texts = texts.into_iter();
        let written = texts.try_for_each(|text| {
            length += text.len() as u64;
            self.file.write_all(text)
        });
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        if length - self.length >= MANY_BYTES {
            // The next pages that are written are then these again, which takes a third less than to take others.
            let (begin, all) = (self.length & !(PAGE - 1), NonZero::new(length - (self.length & !(PAGE - 1))));
            if let Err(error) = fadvise(&self.file, begin, all, Advice::DontNeed) {
                tracing::debug!(%error, "the kernel keeps in memory what was written of the audit trail");
            }
        }
        self.length = length;
        Ok(())
    }

    /// Renames the file if it is as large or as old as it may be, begins another, and deletes the oldest beyond those to
    /// keep.
    fn rotate(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let is_old = self.config.max_age.is_some_and(|age| self.began.until(now) >= age);
        if self.length == 0 || (self.length < self.config.max_bytes && !is_old) {
            return Ok(());
        }
        self.renamed += 1;
        let name = format!("{}.{:012}-{:06}", self.config.path.display(), now.0, self.renamed);
        match fs::rename(&self.config.path, name) {
            // It was renamed before, and the next one could not be opened; or somebody has taken it away.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.file = open(&self.config)?;
        (self.length, self.began) = (0, now);
        let mut old = self.renamed_files()?;
        old.sort();
        let beyond = old.len().saturating_sub(self.config.keep);
        old.iter().take(beyond).try_for_each(fs::remove_file)
    }

    fn renamed_files(&self) -> io::Result<Vec<PathBuf>> {
        let file = &self.config.path;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Some(name) = file.file_name() else { return Ok(Vec::new()) };
        let begin = format!("{}.", name.to_string_lossy());
        let entries = fs::read_dir(folder.unwrap_or(Path::new(".")))?;
        let paths: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        // Only what this function made: the time and the number.
        let is_old = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let rest = name.strip_prefix(&begin).unwrap_or_default();
            rest.len() == 19 && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        };
        Ok(paths?.into_iter().filter(is_old).collect())
    }
}

impl Deliver for LogFile {
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered> {
        self.write(batch.iter().map(|lines| lines.text())).map_err(|error| NotDelivered::Yet(error.to_string()))?;
        let rotated = self.rotate();
        if let (Err(error), false) = (&rotated, self.is_stuck) {
            tracing::error!(%error, "the file of the audit trail cannot be renamed; it grows, and that is tried again");
        }
        self.is_stuck = rotated.is_err();
        Ok(())
    }
}

fn open(config: &FileConfig) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&config.path)
}

/// When the first line was recorded; `None` where there is no line, or it is no record.
fn first_time(file: &File) -> io::Result<Option<Timestamp>> {
    // A device, or a line that has no end, is not read whole.
    let mut first = Vec::new();
    BufReader::new(file).take(64 * 1024).read_until(b'\n', &mut first)?;
    Ok(serde_json::from_slice::<Link>(&first).ok().map(|link| link.time))
}
