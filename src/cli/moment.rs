//! Times for people.

use std::time::Duration;
use std::time::SystemTime;

use crate::authority::clock::Timestamp;

/// The first second of the year 10000, which RFC 3339 cannot represent.
const END_OF_TIME: u64 = 253_402_300_800;

/// A time in RFC 3339 form, or the seconds since the epoch of one that has none.
pub(in crate::cli) fn moment(at: Timestamp) -> String {
    date(at).unwrap_or_else(|| at.0.to_string())
}

/// A time in RFC 3339 form; none after the year 9999.
pub(in crate::cli) fn date(at: Timestamp) -> Option<String> {
    let at = Some(at.0).filter(|seconds| *seconds < END_OF_TIME)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// A time of a message in RFC 3339 form; none before 1970.
pub(in crate::cli) fn at(time: &prost_types::Timestamp) -> Option<String> {
    u64::try_from(time.seconds).ok().map(Timestamp).map(moment)
}

/// A span of a message, such as `5m 30s`; none that is negative.
pub(in crate::cli) fn span(span: prost_types::Duration) -> Option<String> {
    Duration::try_from(span).ok().map(|span| humantime::format_duration(span).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_date_is_the_end_of_the_year_9999() {
        assert_eq!(moment(Timestamp(END_OF_TIME - 1)), "9999-12-31T23:59:59Z");
        for seconds in [END_OF_TIME, u64::MAX] {
            assert_eq!(moment(Timestamp(seconds)), seconds.to_string());
            assert_eq!(date(Timestamp(seconds)), None);
        }
    }
}
