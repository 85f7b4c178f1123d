//! How many changes wait for a second admin, as it was when they were counted last.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::authority::clock::Timestamp;

/// The number of changes that wait, and when the oldest of them was proposed.
#[derive(Debug, Default)]
pub(in crate::authority) struct WaitingProposals(Mutex<(u64, Option<Timestamp>)>);

impl WaitingProposals {
    /// Replaces the count by that of changes that were proposed at these times.
    pub(in crate::authority) fn set(&self, proposed: impl Iterator<Item = Timestamp>) {
        let counted = proposed
            .fold((0, None), |(count, oldest), time| (count + 1, Some(oldest.map_or(time, |one| time.min(one)))));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    /// The number, and the time of the oldest.
    pub(in crate::authority) fn read(&self) -> (u64, Option<Timestamp>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
