//! The parts common to the stored records of registrations: JSON that an operator can read, with a schema number.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A stored record that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// The value is not the JSON of a record.
    #[error("the record is not what this version writes: {0}")]
    Json(#[from] serde_json::Error),
    /// The record was written by a later version.
    #[error("the record has schema {0}, which this version does not know")]
    Schema(u32),
}

/// Parses a stored value. The schema is checked first, because the other members of a later version's record are
/// unknown.
pub(in crate::authority) fn read<T: DeserializeOwned>(bytes: &[u8], schema: u32) -> Result<T, UnreadableRecord> {
    #[derive(Deserialize)]
    struct SchemaOnly {
        schema: u32,
    }
    let written: SchemaOnly = serde_json::from_slice(bytes)?;
    if written.schema != schema {
        return Err(UnreadableRecord::Schema(written.schema));
    }
    Ok(serde_json::from_slice(bytes)?)
}
