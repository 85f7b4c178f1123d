//! The mark: a small file beside sled's that names the store and its last revision.
//!
//! sled opens a truncated log, or an empty directory, as an older or a new database without an error. The mark detects
//! both. It holds two copies in two pages that are written in turn, so that a torn write leaves one copy valid.
//!
//! It is written after each batch is synced and before the batch is acknowledged, but it is synced only every 64
//! batches and at the close: a second sync for each batch would halve the rate of writes. It is therefore never ahead
//! of the log (no false alarm) and never behind an acknowledged write when only the process died. After a power cut it
//! is behind by at most 64 batches, or by what the kernel had not yet written back (30 s by default). The log itself
//! was synced. Its end can be lost unnoticed only by a power cut together with damage to the log within that margin.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::store::Revision;
use crate::store::sled::record::sha256;

/// The mark's name in the store's directory.
pub(super) const MARK: &str = "MARK";
/// The mark's name until it is completely written.
pub(super) const NEW_MARK: &str = "MARK.new";

const SCHEMA: u32 = 1;
const SLOT_BYTES: usize = 4096;
const SYNC_EVERY: u32 = 64;

/// The stage of a store's creation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// Nothing was ever acknowledged here: sled's files may be deleted.
    Creating,
    /// Writes may have been acknowledged.
    Ready,
}

/// The open mark of an open store.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    pub(super) store: String,
    pub(super) stage: Stage,
    pub(super) revision: Revision,
    writes: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    schema: u32,
    store: String,
    stage: Stage,
    revision: u64,
    sha256: String,
}

impl Mark {
    /// Makes the mark of a store that is about to be created. The file is complete under its name, or does not exist.
    pub(super) fn create(directory: &Path, store: String) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(directory.join(NEW_MARK))?;
        let mut mark = Self { file, store, stage: Stage::Creating, revision: Revision(0), writes: 0 };
        mark.write_whole()?;
        std::fs::rename(directory.join(NEW_MARK), directory.join(MARK))?;
        File::open(directory)?.sync_all()?;
        Ok(mark)
    }

    /// Opens the present mark. `None` if no copy in it is valid, or if the two name different stores.
    pub(super) fn open(directory: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(directory.join(MARK))?;
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, u64::try_from(filled).unwrap_or(u64::MAX))? {
                0 => break,
                read => filled += read,
            }
        }
        let lines: Vec<Line> = bytes.chunks(SLOT_BYTES).filter_map(Line::decode).collect();
        let Some(newest) = lines.iter().max_by_key(|line| (line.stage, line.revision)) else { return Ok(None) };
        if lines.iter().any(|line| line.store != newest.store) {
            return Ok(None);
        }
        let (store, stage, revision) = (newest.store.clone(), newest.stage, Revision(newest.revision));
        Ok(Some(Self { file, store, stage, revision, writes: 0 }))
    }

    /// Records in both copies that the store is ready and has reached `revision`, and syncs.
    pub(super) fn settle(&mut self, revision: Revision) -> io::Result<()> {
        self.stage = Stage::Ready;
        self.revision = revision;
        self.write_whole()
    }

    /// Records in the older copy that the store has reached `revision`. Syncs every [`SYNC_EVERY`] calls.
    pub(super) fn advance(&mut self, revision: Revision) -> io::Result<()> {
        self.revision = revision;
        self.writes = self.writes.wrapping_add(1);
        self.write_slot(self.writes % 2)?;
        if self.writes.is_multiple_of(SYNC_EVERY) { self.file.sync_data() } else { Ok(()) }
    }

    fn write_whole(&mut self) -> io::Result<()> {
        self.write_slot(0)?;
        self.write_slot(1)?;
        self.file.sync_all()
    }

    fn write_slot(&self, slot: u32) -> io::Result<()> {
        let line = Line {
            schema: SCHEMA,
            store: self.store.clone(),
            stage: self.stage,
            revision: self.revision.0,
            sha256: checksum(&self.store, self.stage, self.revision.0),
        };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.resize(SLOT_BYTES - 1, b' ');
        bytes.push(b'\n');
        self.file.write_all_at(&bytes, u64::from(slot) * SLOT_BYTES as u64)
    }
}

impl Line {
    fn decode(slot: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(slot).ok()?;
        let is_valid = line.schema == SCHEMA && line.sha256 == checksum(&line.store, line.stage, line.revision);
        is_valid.then_some(line)
    }
}

fn checksum(store: &str, stage: Stage, revision: u64) -> String {
    let stage = [u8::from(stage == Stage::Ready)];
    URL_SAFE_NO_PAD.encode(sha256(&[&stage, &revision.to_be_bytes(), store.as_bytes()]))
}
