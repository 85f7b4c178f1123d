//! How long a receipt is valid, in the metadata of resources.

use std::time::Duration;

use serde::Deserializer;

use crate::authority::records::deserialize_duration;
pub(super) use crate::authority::records::serialize_duration as serialize;

/// For serde: parses the text of `ttl`, if it is present.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration("receipts.ttl", deserializer)
}
