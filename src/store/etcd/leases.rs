//! The leases under which etcd deletes what has expired. Records that expire within the same ten seconds share one, so
//! that there are few leases for many records.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::authority::clock::Timestamp;

/// The length of the spans of time that share a lease, in seconds.
const SPAN: u64 = 10;

/// The longest lease that etcd grants, in seconds.
const MAX_DURATION: i64 = 9_000_000_000;

/// The leases that this process has been granted, by the span at whose end they end.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<u64, i64>>);

/// The number of the span in which a record expires.
pub(super) fn span(expires: Timestamp) -> u64 {
    expires.0 / SPAN
}

/// The end of a span.
fn end(span: u64) -> u64 {
    span.saturating_add(1).saturating_mul(SPAN)
}

/// For how many seconds a lease must be granted: until the span is over, and never for less than a span.
pub(super) fn duration(span: u64, now: Timestamp) -> i64 {
    let duration = end(span).saturating_sub(now.0).max(SPAN);
    i64::try_from(duration).unwrap_or(i64::MAX).min(MAX_DURATION)
}

impl Leases {
    /// The lease for a span, if there is one.
    pub(super) fn of(&self, span: u64) -> Option<i64> {
        self.leases().get(&span).copied()
    }

    /// Keeps a lease for a span, and forgets those of spans that are over.
    pub(super) fn keep(&self, span: u64, lease: i64, now: Timestamp) {
        let mut leases = self.leases();
        leases.retain(|span, _| end(*span) > now.0);
        leases.insert(span, lease);
    }

    /// Forgets all leases: one of them is gone, as after etcd's data was restored.
    pub(super) fn forget(&self) {
        self.leases().clear();
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<u64, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
