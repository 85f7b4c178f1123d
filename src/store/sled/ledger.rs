//! The ledger: one entry beside the records, with the store's name, its last revision, and a sum over all records.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::store::Revision;
use crate::store::sled::record::Checksum;
use crate::store::sled::record::sha256;

/// The ledger's key in the tree. No chunk's key has this length.
pub(super) const LEDGER_KEY: &[u8] = b"ledger";

const SCHEMA: u32 = 1;

/// Written in the same batch as the records. The last revision thus survives deletions, and a lost or reappeared record
/// is detected although each present record is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ledger {
    /// The store's name, chosen at random when it was created.
    pub(super) store: String,
    pub(super) revision: Revision,
    pub(super) records: u64,
    /// The exclusive or of all records' checksums. It protects against accidents, not against someone who computes
    /// collisions.
    pub(super) sum: Checksum,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    schema: u32,
    store: String,
    revision: u64,
    records: u64,
    sum: String,
    sha256: String,
}

impl Ledger {
    /// The ledger of a store without records.
    pub(super) fn new(store: String) -> Self {
        Self { store, revision: Revision(0), records: 0, sum: Checksum::default() }
    }

    /// Adds a record.
    pub(super) fn add(&mut self, checksum: &Checksum) {
        self.records = self.records.wrapping_add(1);
        self.flip(checksum);
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, checksum: &Checksum) {
        self.records = self.records.wrapping_sub(1);
        self.flip(checksum);
    }

    /// Adds the records of another.
    pub(super) fn include(&mut self, other: &Self) {
        self.records = self.records.wrapping_add(other.records);
        self.flip(&other.sum);
    }

    fn flip(&mut self, checksum: &Checksum) {
        self.sum.iter_mut().zip(checksum).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// Encodes the ledger as one line of JSON.
    ///
    /// # Errors
    /// Those of `serde_json`; none are known for this type.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Line {
            schema: SCHEMA,
            store: self.store.clone(),
            revision: self.revision.0,
            records: self.records,
            sum: URL_SAFE_NO_PAD.encode(self.sum),
            sha256: self.checksum(),
        })
    }

    /// Decodes a ledger; `None` if the line is not exactly what was written.
    pub(super) fn decode(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok().filter(|line: &Line| line.schema == SCHEMA)?;
        let sum = URL_SAFE_NO_PAD.decode(&line.sum).ok()?.try_into().ok()?;
        let ledger = Self { store: line.store, revision: Revision(line.revision), records: line.records, sum };
        (ledger.checksum() == line.sha256).then_some(ledger)
    }

    fn checksum(&self) -> String {
        let (revision, records) = (self.revision.0.to_be_bytes(), self.records.to_be_bytes());
        URL_SAFE_NO_PAD.encode(sha256(&[&revision, &records, &self.sum, self.store.as_bytes()]))
    }
}
