//! The duration in the metadata of clients.

use std::time::Duration;

use serde::Deserializer;

use crate::authority::records::DURATION_SHAPE;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::records::deserialize_duration;
use crate::authority::records::parse_duration;
pub(super) use crate::authority::records::serialize_duration as serialize;

const FIELD: &str = "access_token_ttl";

/// Parses the text of `access_token_ttl`.
pub fn parse_access_token_ttl(text: &str) -> Result<Duration, InvalidMetadata> {
    let refuse = || InvalidMetadata { kind: Kind::Client, field: FIELD, problem: DURATION_SHAPE.to_owned() };
    parse_duration(text).ok_or_else(refuse)
}

/// For serde: parses the text of `access_token_ttl`, if it is present.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(FIELD, deserializer)
}
