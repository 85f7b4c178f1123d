//! Reading an export: the whole text is verified before any record of it is used.

use std::io;
use std::io::BufRead;
use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::backup::export::Export;
use crate::authority::backup::export::FORMAT;
use crate::authority::backup::export::Header;
use crate::authority::backup::export::Last;
use crate::authority::backup::export::Line;
use crate::authority::backup::moved::MovedRecord;
use crate::authority::backup::moved::is_moved;
use crate::authority::store::MAX_KEY_BYTES;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;

/// The longest line: a key of which each byte is escaped, and the longest value in base64.
const MAX_LINE_BYTES: usize = 6 * MAX_KEY_BYTES + 2 * MAX_VALUE_BYTES;

/// The text is no export, or not the whole of one as it was written.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadExport {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line of an export.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The text cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The first line is not the header of an export.
    #[error("this is no export of a store: its first line does not say so")]
    NotAnExport,
    /// Another version wrote it in a format that this one does not know.
    #[error("the export has format {0}, which this version does not know")]
    Format(u32),
    /// The line is not what an export consists of.
    #[error("is no line of an export: {0}")]
    NotALine(#[from] serde_json::Error),
    /// The record has no value, or two.
    #[error("the record has no value that can be read")]
    NoValue,
    /// The line is longer than any that is written.
    #[error("is longer than a record can be")]
    TooLong,
    /// No export has a record with this key.
    #[error("{0} is not the key of a record that is exported")]
    ForeignKey(String),
    /// The key does not come after that of the line before.
    #[error("the record {0} is out of order: lines were moved or doubled")]
    OutOfOrder(String),
    /// The text ends before its last line does.
    #[error("the text ends here, without its last line: it was cut short")]
    Cut,
    /// The last line counts other records than there are.
    #[error("there are {found} records where the last line counts {counted}: lines are missing, or were added")]
    Count {
        /// How many were found.
        found: u64,
        /// How many the last line counts.
        counted: u64,
    },
    /// The lines are not those that were written.
    #[error("the checksum does not match: the text was changed")]
    Checksum,
    /// There is more after the last line.
    #[error("there is more after the last line")]
    NotTheEnd,
}

/// Reads a whole export.
///
/// # Errors
/// The first line that is not as it was written.
pub fn read(source: impl BufRead) -> Result<Export, BadExport> {
    let mut reader = Reader { source, line: 0, hash: Sha256::new(), count: 0 };
    reader.export().map_err(|problem| BadExport { line: reader.line, problem })
}

struct Reader<R> {
    source: R,
    line: usize,
    /// Of all lines so far.
    hash: Sha256,
    /// The records so far.
    count: u64,
}

impl<R: BufRead> Reader<R> {
    fn export(&mut self) -> Result<Export, Problem> {
        let header = self.next_line()?;
        let Header { version, revision, time, .. } = read_header(&header)?;
        self.hash.update(&header);
        let mut records: Vec<MovedRecord> = Vec::new();
        loop {
            let line = self.next_line()?;
            if line.starts_with(b"{\"records\":") {
                self.end(&line)?;
                return Ok(Export { version, revision: Revision(revision), time, records });
            }
            let record = read_record(&line)?;
            if records.last().is_some_and(|before| before.key >= record.key) {
                return Err(Problem::OutOfOrder(record.key));
            }
            self.hash.update(&line);
            self.count += 1;
            records.push(record);
        }
    }

    /// The next line with its line feed.
    fn next_line(&mut self) -> Result<Vec<u8>, Problem> {
        self.line += 1;
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        self.source.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") {
            return Ok(line);
        }
        Err(match line.len() {
            MAX_LINE_BYTES => Problem::TooLong,
            0 if self.line == 1 => Problem::NotAnExport,
            _ => Problem::Cut,
        })
    }

    /// Compares the last line with what was read.
    fn end(&mut self, line: &[u8]) -> Result<(), Problem> {
        let Last { records, sha256 } = serde_json::from_slice(line)?;
        if records != self.count {
            return Err(Problem::Count { found: self.count, counted: records });
        }
        let own = Last { records, sha256: hex::encode(self.hash.clone().finalize()) };
        // The whole line, so that no byte of it can differ either.
        if own.sha256 != sha256 || serde_json::to_vec(&own)? != line.trim_ascii_end() {
            return Err(Problem::Checksum);
        }
        self.line += 1;
        let mut more = [0];
        if self.source.read(&mut more)? > 0 { Err(Problem::NotTheEnd) } else { Ok(()) }
    }
}

fn read_header(line: &[u8]) -> Result<Header, Problem> {
    #[derive(Deserialize)]
    struct FormatOnly {
        lanyard_export: u32,
    }
    let FormatOnly { lanyard_export } = serde_json::from_slice(line).map_err(|_| Problem::NotAnExport)?;
    if lanyard_export != FORMAT {
        return Err(Problem::Format(lanyard_export));
    }
    Ok(serde_json::from_slice(line)?)
}

fn read_record(line: &[u8]) -> Result<MovedRecord, Problem> {
    let Line { key, expires, value, base64 } = serde_json::from_slice(line)?;
    let value: Arc<[u8]> = match (value, base64) {
        (Some(json), None) => json.get().as_bytes().into(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| Problem::NoValue)?.into(),
        (None, None) | (Some(_), Some(_)) => return Err(Problem::NoValue),
    };
    if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
        return Err(Problem::TooLong);
    }
    if !is_moved(&key) {
        return Err(Problem::ForeignKey(key.into_owned()));
    }
    Ok(MovedRecord { key: key.into_owned(), value, expires })
}
