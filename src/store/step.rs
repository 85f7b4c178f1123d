//! The changes that a transaction makes to the present state.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Write;

/// An entry as it is stored and returned.
pub(super) type Entry = Versioned<Arc<[u8]>>;

/// The changes of one revision, in the order of the transaction: each key and its new entry.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) revision: Revision,
    pub(super) changes: Vec<(String, Option<Entry>)>,
}

impl Step {
    /// The changes of this transaction as revision `next`; `None` if there are none. `present` must also return entries
    /// that have expired but are not deleted yet.
    pub(super) fn of(
        transaction: Transaction,
        next: Revision,
        now: Timestamp,
        present: impl Fn(&str) -> Option<Entry>,
    ) -> Result<Option<Self>, StoreError> {
        let revision_of = |key: &str| present(key).filter(|entry| !entry.has_expired(now)).map(|entry| entry.revision);
        let fails = |(key, expected): &&(String, Expected)| !expected.holds(revision_of(key));
        if let Some((key, _)) = transaction.comparisons().iter().find(fails) {
            return Err(StoreError::Conflict { key: key.clone() });
        }
        let changes = transaction.into_writes().into_iter().filter_map(|(key, write)| match write {
            Write::Put { value, expires } => Some((key, Some(Versioned { value, revision: next, expires }))),
            Write::Delete => present(&key).map(|_| (key, None)),
        });
        Ok(Self::with(next, changes.collect()))
    }

    /// The deletion of those of these keys that have expired.
    pub(super) fn expiry(
        keys: Vec<String>,
        next: Revision,
        now: Timestamp,
        present: impl Fn(&str) -> Option<Entry>,
    ) -> Option<Self> {
        let expired = keys.into_iter().filter(|key| present(key).is_some_and(|entry| entry.has_expired(now)));
        let mut changes: Vec<_> = expired.map(|key| (key, None)).collect();
        changes.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::with(next, changes)
    }

    fn with(revision: Revision, changes: Vec<(String, Option<Entry>)>) -> Option<Self> {
        (!changes.is_empty()).then_some(Self { revision, changes })
    }
}
