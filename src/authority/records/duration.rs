//! Durations in metadata, written as text such as `5m`.

use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

/// What is said of another text.
pub(in crate::authority) const SHAPE: &str = "must be a duration such as 5m or 90s";

/// Parses the text of a duration.
pub(in crate::authority) fn parse(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// For serde: parses the text of this field, if it is present.
pub(in crate::authority) fn deserialize<'de, D: Deserializer<'de>>(
    field: &str,
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).ok_or_else(|| D::Error::custom(format_args!("{field} {SHAPE}")))).transpose()
}

/// For serde: writes the text of a duration.
#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(in crate::authority) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(|duration| humantime::format_duration(duration).to_string()).serialize(serializer)
}
