//! Code that the messages of all kinds of registrations share.

use std::time::Duration;

use prost_types::FieldMask;
use prost_types::Timestamp;

use crate::authority::clock;
use crate::authority::store::Revision;

/// A field of a message that cannot be parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// The field's name.
    pub field: &'static str,
    /// The problem, as a phrase that follows the field's name.
    pub problem: &'static str,
}

/// A message to which a field mask can be applied.
pub trait Masked: Sized {
    /// Copies the field of that name from another message. `None` if the caller cannot change that field.
    fn take(&mut self, field: &str, from: &Self) -> Option<()>;

    /// Returns this message with the fields of the mask copied from another.
    fn masked(mut self, from: &Self, mask: &FieldMask) -> Result<Self, Malformed> {
        let problem = "names a field that cannot be changed";
        for path in &mask.paths {
            self.take(path, from).ok_or(Malformed { field: "update_mask", problem })?;
        }
        Ok(self)
    }
}

/// Copies the named field if it is one of those listed.
macro_rules! take_one_of {
    ($into:ident, $from:ident, $name:ident: $($field:ident),+ $(,)?) => {
        match $name {
            $(stringify!($field) => $into.$field.clone_from(&$from.$field),)+
            _ => return None,
        }
    };
}
pub(super) use take_one_of;

/// The `etag` of a revision.
pub fn etag(revision: Revision) -> String {
    revision.0.to_string()
}

/// The revision that an `etag` names. Each revision has exactly one text: signs and leading zeros are refused.
pub fn revision(text: &str) -> Option<Revision> {
    text.parse().ok().map(Revision).filter(|revision| etag(*revision) == text)
}

/// A later time than the message can represent is replaced by the latest possible.
pub fn timestamp(time: clock::Timestamp) -> Timestamp {
    Timestamp { seconds: i64::try_from(time.0).unwrap_or(i64::MAX), nanos: 0 }
}

/// The duration in this field, if it is set.
pub(super) fn duration(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Malformed> {
    let read = duration.map(Duration::try_from).transpose();
    read.map_err(|_| Malformed { field, problem: "is not a positive duration" })
}

/// A duration that is too long for the message becomes the longest, which every server refuses.
pub(super) fn duration_message(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// A text field, where empty means absent.
pub(super) fn set(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
