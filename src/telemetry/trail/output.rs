//! The file that lines are written to: whole or not at all, and renamed when it is large.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::authority::clock::Timestamp;
use crate::telemetry::trail::config::Config;

#[derive(Debug)]
pub(super) struct Output {
    config: Config,
    file: File,
    /// The bytes of whole lines.
    length: u64,
    /// The number of files that were renamed since the start: it orders those of one second.
    renamed: u64,
}

impl Output {
    /// Opens the file to append to it. A line that a crash cut off gets an end, and stays.
    pub(super) fn open(config: Config) -> io::Result<Self> {
        let file = open(&config)?;
        let length = file.metadata()?.len();
        let mut output = Self { config, file, length, renamed: 0 };
        if length > 0 {
            let mut last = [0];
            output.file.seek(SeekFrom::End(-1))?;
            output.file.read_exact(&mut last)?;
            if last != *b"\n" {
                output.write(b"\n")?;
            }
        }
        Ok(output)
    }

    /// Writes whole lines and waits until they are on the disk. What was written of them is taken back if that fails.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Renames the file if it is as large as it may be, begins another, and deletes the oldest beyond those to keep.
    pub(super) fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        if self.length < self.config.max_bytes {
            return Ok(());
        }
        self.renamed += 1;
        let name = format!("{}.{:012}-{:06}", self.config.file.display(), now.0, self.renamed);
        fs::rename(&self.config.file, name)?;
        self.file = open(&self.config)?;
        self.length = 0;
        let mut old = self.renamed_files()?;
        old.sort();
        let beyond = old.len().saturating_sub(self.config.keep);
        old.iter().take(beyond).try_for_each(fs::remove_file)
    }

    fn renamed_files(&self) -> io::Result<Vec<PathBuf>> {
        let file = &self.config.file;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Some(name) = file.file_name() else { return Ok(Vec::new()) };
        let begin = format!("{}.", name.to_string_lossy());
        let entries = fs::read_dir(folder.unwrap_or(std::path::Path::new(".")))?;
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

fn open(config: &Config) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&config.file)
}
