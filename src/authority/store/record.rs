//! The parts common to the stored records of registrations: JSON that an operator can read, with a schema number.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A record in a newer schema than this version reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the record has schema {schema}, and this version reads schemas up to {reads}: it takes a version that reads schema {schema}"
)]
pub struct TooNew {
    /// The schema of the record.
    pub schema: u32,
    /// The newest schema of such records that this version reads.
    pub reads: u32,
}

impl TooNew {
    /// Looks at the schema alone: the other members of a later version's record are unknown. `None` for a record of an
    /// older schema, and for what has none.
    pub fn find(bytes: &[u8], reads: u32) -> Option<Self> {
        let SchemaOnly { schema } = serde_json::from_slice(bytes).ok()?;
        (schema > reads).then_some(Self { schema, reads })
    }
}

/// A stored record that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// The value is not the JSON of a record.
    #[error("the record is not what this version writes: {0}")]
    Json(#[from] serde_json::Error),
    /// The record was written by a later version.
    #[error(transparent)]
    TooNew(#[from] TooNew),
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u32,
}

/// Parses a stored value of a schema up to `newest`. The schema is checked first, because the other members of a later
/// version's record are unknown.
pub(in crate::authority) fn read<T: DeserializeOwned>(bytes: &[u8], newest: u32) -> Result<T, UnreadableRecord> {
    if let Some(too_new) = TooNew::find(bytes, newest) {
        return Err(too_new.into());
    }
    Ok(serde_json::from_slice(bytes)?)
}
