//! The hours by which requests are counted.

use crate::authority::clock::Timestamp;

/// For how many hours requests are counted, the present one included: at least the last 24 hours.
pub(super) const HOURS: usize = 25;

/// The number of the hour of a time.
pub(super) fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.0 / 3600).unwrap_or(u32::MAX)
}
