//! What is kept of each change of a registration: what it replaced, by whom, when and why. It is written in the transaction of
//! the change, and expires.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::records::keeping::end_of_day;
use crate::authority::records::keeping::kept_below;
use crate::authority::records::keeping::make_room;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The prefix of all keys of the history. The key of the registration and the number of the change follow. No snapshot is
/// built from them.
pub const HISTORY: &str = "/history/";

/// The most changes of one registration that are kept.
pub const MAX_CHANGES: usize = 64;

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The schema of those that name who approved the change.
const WITH_APPROVER: u32 = 2;

/// A change as it is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRecord {
    schema: u32,
    /// The kind of change, as in the audit trail: `created`, `registered`, `updated`, `disabled` or `deleted`.
    pub change: String,
    /// When it was made.
    pub time: Timestamp,
    /// The identity that made it.
    pub by: String,
    /// The second admin, who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Why, in the words of who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The metadata that it replaced. `None` where the registration was new, or the record would be too large with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The digest of the metadata that it made; `None` where the registration was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
}

impl ChangeRecord {
    /// A change from one metadata to another.
    pub fn new(
        change: &str,
        (by, time, reason): (&str, Timestamp, Option<&str>),
        (before, after): (Option<impl Serialize>, Option<impl Serialize>),
    ) -> Self {
        Self {
            schema: SCHEMA,
            change: change.to_owned(),
            time,
            by: by.to_owned(),
            approved_by: None,
            reason: reason.map(ToOwned::to_owned),
            before: before.and_then(|before| serde_json::to_value(before).ok()),
            made: after.as_ref().and_then(digest),
        }
    }

    /// The same change, as a second admin approved it.
    #[must_use]
    pub(in crate::authority) fn approved_by(self, approver: Option<&str>) -> Self {
        match approver {
            Some(approver) => Self { schema: WITH_APPROVER, approved_by: Some(approver.to_owned()), ..self },
            None => self,
        }
    }

    /// Reads the value that is stored under a key of the history.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        read_record(bytes, WITH_APPROVER)
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
    /// The second admin, who approved it.
    pub approved_by: Option<String>,
    /// Why, in the words of who made it.
    pub reason: Option<String>,
    /// Its number among the changes of the registration, from 1 on.
    pub number: u64,
    /// The metadata that it replaced. `None` where the registration was new, or that was not kept.
    pub before: Option<M>,
    /// The metadata that it made. `None` where the registration was deleted, or the next change is not in the history.
    pub after: Option<M>,
}

/// The digest of metadata, by which what one change made is known again in what the next one replaced. Revisions would not
/// do: they are those of a store, and records are moved to others.
pub(in crate::authority) fn digest(metadata: &impl Serialize) -> Option<String> {
    let value = serde_json::to_value(metadata).and_then(|value| serde_json::to_vec(&value)).ok()?;
    Some(hex::encode(Sha256::digest(value)))
}

/// The prefix of the changes of the registration with this key: `/history` and the key, with its colons and percent signs
/// escaped, and a colon.
pub(in crate::authority) fn prefix(key: &str) -> String {
    format!("{}{}:", HISTORY.trim_end_matches('/'), key.replace('%', "%25").replace(':', "%3A"))
}

/// The key of a change. Two changes with one number, of a registration that was deleted and made again meanwhile, are told
/// apart by the suffix.
pub(in crate::authority) fn key(prefix: &str, number: u64, suffix: &str) -> String {
    format!("{prefix}{number:010}-{suffix}")
}

/// The number of the change with this key.
pub(in crate::authority) fn number(prefix: &str, key: &str) -> Option<u64> {
    key.strip_prefix(prefix)?.split('-').next()?.parse().ok()
}

/// Adds what is kept of a change of the record at a key to its transaction, until the end of the day of `until`. The
/// suffix of the key is made of `random`.
///
/// # Errors
/// The store does not answer.
pub async fn kept_with(
    store: &dyn Store,
    (key, change): (&str, &ChangeRecord),
    (until, random): (Timestamp, [u8; 4]),
    transaction: Transaction,
) -> Result<Transaction, StoreError> {
    let prefix = prefix(key);
    let kept = kept_below(store, &prefix, MAX_CHANGES).await?;
    let last = kept.last().and_then(|key| number(&prefix, key));
    let key = self::key(&prefix, last.unwrap_or_default().saturating_add(1), &hex::encode(random));
    let value = change.to_bytes().map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(make_room(transaction.put_until(&key, value, end_of_day(until)), (kept.iter(), MAX_CHANGES)))
}
