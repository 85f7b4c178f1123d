//! Durations in metadata, written as text such as `5m`.

use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;

const SHAPE: &str = "must be a duration such as 5m or 90s";

/// Parses the text of `access_token_ttl`.
pub fn parse_access_token_ttl(text: &str) -> Result<Duration, InvalidMetadata> {
    let refuse = || InvalidMetadata { kind: Kind::Client, field: "access_token_ttl", problem: SHAPE.to_owned() };
    humantime::parse_duration(text).map_err(|_| refuse())
}

/// For serde: parses the text of `access_token_ttl`, if it is present.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        parse_access_token_ttl(&text).map_err(|error| D::Error::custom(format_args!("{} {SHAPE}", error.field)))
    })
    .transpose()
}

/// For serde: writes the text of a duration.
#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| humantime::format_duration(duration).to_string()).serialize(serializer)
}
