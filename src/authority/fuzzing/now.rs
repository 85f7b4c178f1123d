//! The time of the seeds.

use crate::authority::clock::Timestamp;

/// The moment at which the seeds are valid.
pub(super) const NOW: Timestamp = Timestamp(1_800_000_000);
