//! The mark: a small file beside sled's that says which store lies here and how far it had come.
//!
//! sled takes a log that was cut short, or an empty directory, for an older or a new database and says nothing. The mark
//! is how we notice. It holds two copies in two pages that are written in turn, so that a torn write leaves the other.
//!
//! It is written after each batch is synced and before it is acknowledged, but synced only every 64 batches and at the
//! close: a second sync for each batch would halve the rate of writes. It is therefore never ahead of the log (no false
//! alarm), never behind an acknowledged write when only the process died, and after a power cut at most 64 batches or as
//! much as the kernel had not yet written back (30 s by default) behind. The log itself was synced: losing its end
//! unnoticed takes a power cut and, within that margin, damage to the log besides.

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
/// Its name until it is whole.
pub(super) const NEW_MARK: &str = "MARK.new";

const SCHEMA: u32 = 1;
const SLOT_BYTES: usize = 4096;
const SYNC_EVERY: u32 = 64;

/// How far the making of a store has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// Nothing was ever acknowledged here: what sled left may be thrown away.
    Creating,
    /// Something may have been.
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
    /// Makes the mark of a store that is about to be created; it is whole under its name or not there.
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

    /// Opens the mark that is there. `None` if no copy in it is sound, or the two name different stores.
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

    /// Says in both copies that the store is there and has come to `revision`, and syncs.
    pub(super) fn settle(&mut self, revision: Revision) -> io::Result<()> {
        self.stage = Stage::Ready;
        self.revision = revision;
        self.write_whole()
    }

    /// Says in the older copy that the store has come to `revision`; syncs from time to time.
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
        let sound = line.schema == SCHEMA && line.sha256 == checksum(&line.store, line.stage, line.revision);
        sound.then_some(line)
    }
}

fn checksum(store: &str, stage: Stage, revision: u64) -> String {
    let stage = [u8::from(stage == Stage::Ready)];
    URL_SAFE_NO_PAD.encode(sha256(&[&stage, &revision.to_be_bytes(), store.as_bytes()]))
}
