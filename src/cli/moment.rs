//! Times for people.

use std::time::Duration;
use std::time::SystemTime;

use crate::authority::clock::Timestamp;

/// A time in RFC 3339 form.
pub(in crate::cli) fn moment(at: Timestamp) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(at.0))
        .map_or_else(|| at.0.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}
