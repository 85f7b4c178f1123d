//! What is common to the records of registrations in the store: JSON that an operator can read, with the number of its
//! schema.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A stored record that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// Not the JSON of a record.
    #[error("the record is not what this version writes: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("the record has schema {0}, which this version does not know")]
    Schema(u32),
}

/// Reads a stored value. The schema is looked at first: what else is in a later version's record says nothing.
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
