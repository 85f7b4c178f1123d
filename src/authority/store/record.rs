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
    if !begins_with_schema(bytes, newest)
        && let Some(too_new) = TooNew::find(bytes, newest)
    {
        return Err(too_new.into());
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Whether the first member is a schema up to `newest`, as each version writes it: the record need not be read twice then. A second
/// `schema` in it is refused by whoever reads the whole.
fn begins_with_schema(bytes: &[u8], newest: u32) -> bool {
    let Some(rest) = bytes.strip_prefix(b"{\"schema\":") else { return false };
    let Some((digits, _)) = rest.iter().position(|byte| *byte == b',').and_then(|end| rest.split_at_checked(end))
    else {
        return false;
    };
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u32>().is_ok_and(|schema| schema <= newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Read {
        schema: u32,
    }

    #[test]
    fn a_newer_schema_is_found_wherever_it_is_and_the_known_ones_are_read() {
        let read = |record: &str| read::<Read>(record.as_bytes(), 4);
        for record in [r#"{"schema":4,"a":1}"#, r#"{"schema":4}"#, r#"{ "schema" : 1}"#, r#"{"a":[5],"schema":3}"#] {
            assert!((1..=4).contains(&read(record).unwrap().schema), "{record}");
        }
        for record in [r#"{"schema":5,"a":1}"#, r#"{"schema":5}"#, r#"{ "schema" : 5}"#, r#"{"a":1,"schema":5}"#] {
            assert!(matches!(read(record), Err(UnreadableRecord::TooNew(TooNew { schema: 5, reads: 4 }))), "{record}");
        }
        for record in [r#"{"schema":1,"schema":5}"#, r#"{"schema":5,"schema":1}"#, r#"{"schema":04,"a":1}"#, "{}", "5"]
        {
            assert!(matches!(read(record), Err(UnreadableRecord::Json(_))), "{record}");
        }
    }
}
