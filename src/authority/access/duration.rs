//! The duration in the metadata of grants.

use std::time::Duration;

use serde::Deserializer;

use crate::authority::records::deserialize_duration;
pub(super) use crate::authority::records::serialize_duration as serialize;

/// For serde: parses the text of `max_access_token_ttl`, if it is present.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration("max_access_token_ttl", deserializer)
}
