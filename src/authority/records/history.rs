//! What is kept of each change of a registration: what it replaced, by whom, when and why. It is written in the transaction of
//! the change, and expires.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The prefix of all keys of the history. The key of the registration and the number of the change follow. No snapshot is
/// built from them.
pub const HISTORY: &str = "/history/";

/// The most changes of one registration that are kept: a workload changes its own as often as it likes.
pub const MAX_CHANGES: usize = 64;

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// A change as it is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRecord {
    pub(in crate::authority) schema: u32,
    /// The kind of change, as in the audit trail: `created`, `registered`, `updated`, `disabled` or `deleted`.
    pub change: String,
    /// When it was made.
    pub time: Timestamp,
    /// The identity that made it.
    pub by: String,
    /// Why, in the words of who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision of what it replaced; `None` where the registration was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// The metadata that it replaced. `None` where the registration was new, or the record would be too large with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
}

impl ChangeRecord {
    /// A change that nothing was before.
    pub(in crate::authority) fn new(change: &str, time: Timestamp, by: &str, reason: Option<&str>) -> Self {
        Self {
            schema: SCHEMA,
            change: change.to_owned(),
            time,
            by: by.to_owned(),
            reason: reason.map(ToOwned::to_owned),
            replaced: None,
            before: None,
        }
    }

    /// Reads the value that is stored under a key of the history.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        read_record(bytes, SCHEMA)
    }

    /// The value to store, without what was before where that makes it too large.
    pub(in crate::authority) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        if bytes.len() <= MAX_VALUE_BYTES {
            return Ok(bytes);
        }
        serde_json::to_vec(&Self { before: None, ..self.clone() })
    }
}

/// A change of a registration, with what was before and after it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationChange<M> {
    /// The kind of change, as in the audit trail.
    pub change: String,
    /// When it was made.
    pub time: Timestamp,
    /// The identity that made it.
    pub by: String,
    /// Why, in the words of who made it.
    pub reason: Option<String>,
    /// The revision that it made: the `etag` of what was registered then.
    pub revision: Revision,
    /// The revision that it replaced.
    pub replaced: Option<Revision>,
    /// The metadata that it replaced. `None` where the registration was new, or that was not kept.
    pub before: Option<M>,
    /// The metadata that it made. `None` where the registration was deleted, or the next change is not in the history.
    pub after: Option<M>,
}

/// The prefix of the changes of the registration with this key.
pub(in crate::authority) fn prefix(key: &str) -> String {
    // The key begins with a slash, and a colon, which no number has, ends it.
    format!("{}{key}:", HISTORY.trim_end_matches('/'))
}

/// The key of a change. Two changes with one number, of a registration that was deleted and made again meanwhile, are told
/// apart by the suffix.
pub(in crate::authority) fn key(prefix: &str, number: u64, suffix: &str) -> String {
    format!("{prefix}{number:010}-{suffix}")
}

/// The number of the change with this key. `None` where it is not of the registration with this prefix.
pub(in crate::authority) fn number(prefix: &str, key: &str) -> Option<u64> {
    // The rest may be more of another registration's name.
    let (number, suffix) = key.strip_prefix(prefix)?.split_once('-')?;
    let is_key = number.len() == 10 && suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| number.parse().ok()).flatten()
}
