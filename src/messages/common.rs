//! What the messages of all kinds of registrations have in common.

use prost_types::FieldMask;
use prost_types::Timestamp;

use crate::authority::clock;
use crate::authority::store::Revision;

/// A field of a message that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A message of which some fields can be taken.
pub trait Masked: Sized {
    /// This message with the field of that name taken from another. `None` where that field is not the caller's to change.
    fn take(&mut self, field: &str, from: &Self) -> Option<()>;

    /// This message with the named fields taken from another.
    fn masked(mut self, from: &Self, mask: &FieldMask) -> Result<Self, Malformed> {
        let problem = "names a field that cannot be changed";
        for path in &mask.paths {
            self.take(path, from).ok_or(Malformed { field: "update_mask", problem })?;
        }
        Ok(self)
    }
}

/// Takes one of the listed fields over.
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

/// The revision that an `etag` names. One text a revision: no signs and no leading zeros.
pub fn revision(text: &str) -> Option<Revision> {
    text.parse().ok().map(Revision).filter(|revision| etag(*revision) == text)
}

pub(super) fn timestamp(time: clock::Timestamp) -> Timestamp {
    Timestamp { seconds: i64::try_from(time.0).unwrap_or(i64::MAX), nanos: 0 }
}

/// A text field that is left out where it is empty.
pub(super) fn set(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
