//! What a transaction comes to, given what is there.

use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;
use crate::authority::store::Write;
use crate::store::table::Entry;

/// All that one revision changes: keys, in their order, and what is there from then on.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) revision: Revision,
    pub(super) changes: Vec<(String, Option<Entry>)>,
}

impl Step {
    /// What this transaction changes as revision `next`; `None` where that is nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with the first comparison that does not hold.
    pub(super) fn of(
        transaction: Transaction,
        next: Revision,
        present: impl Fn(&str) -> Option<Entry>,
    ) -> Result<Option<Self>, StoreError> {
        let fails = |(key, expected): &&(String, Expected)| !expected.holds(present(key).map(|entry| entry.revision));
        if let Some((key, _)) = transaction.comparisons().iter().find(fails) {
            return Err(StoreError::Conflict { key: key.clone() });
        }
        let changes = transaction.into_writes().into_iter().filter_map(|(key, write)| match write {
            Write::Put(value) => Some((key, Some(Versioned { value, revision: next }))),
            Write::Delete => present(&key).map(|_| (key, None)),
        });
        let changes: Vec<_> = changes.collect();
        Ok((!changes.is_empty()).then_some(Self { revision: next, changes }))
    }
}
