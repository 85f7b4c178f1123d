//! The mark of an import under way. While a store has it, no server starts on the store.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::read_record;

/// The key of the mark.
pub const IMPORT: &str = "/import";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The record of an import under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportMark {
    schema: u32,
    /// The SHA-256 of the lines of all records that are to be written.
    pub(super) sha256: String,
    /// When it began.
    pub(super) began: Timestamp,
}

impl ImportMark {
    pub(super) fn new(sha256: &str, began: Timestamp) -> Self {
        Self { schema: SCHEMA, sha256: sha256.to_owned(), began }
    }

    /// Parses a stored value; `None` where this version cannot.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        read_record(bytes, SCHEMA).ok()
    }

    /// The value to store; `None` where it cannot be serialized.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}

/// The store has a part of what was to be imported.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an import into the store was not finished, so that it holds a part of the records")]
pub struct UnfinishedImport;

impl UnfinishedImport {
    /// Whether a store has the mark.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        Ok(store.get(IMPORT).await?.map(|_| Self))
    }
}
