//! Why a text or a node is refused.

use std::fmt;

use serde::de::Expected;
use serde::de::Unexpected;

use crate::yaml::place::Place;

/// The text is not YAML, or has an unknown key or a value of another type; with the key and its place. Values are not
/// shown, except those of a small fixed set: a misplaced value may be a secret key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct YamlError {
    problem: String,
    /// The path, such as `roles.admins[1].spiffe_id`; empty for the document itself.
    key: String,
    place: Option<Place>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    UnknownField,
    Type,
    Other,
}

impl YamlError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), key: String::new(), place: None, kind: Kind::Other }
    }

    /// Adds a place, unless there is one already: the innermost place is kept.
    pub(in crate::yaml) fn at(mut self, place: &Place, key: impl fmt::Display) -> Self {
        if self.place.is_none() {
            self.key = key.to_string();
            self.place = Some(place.clone());
        }
        self
    }

    pub(in crate::yaml) fn of_type(found: &str, expected: impl fmt::Display) -> Self {
        Self { kind: Kind::Type, ..Self::new(format!("invalid type: {found}, expected {expected}")) }
    }

    /// The place of the error, if it is known.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Whether the error is an unknown key.
    pub fn is_unknown_field(&self) -> bool {
        self.kind == Kind::UnknownField
    }

    /// The key of a value whose type is not the expected one.
    pub(crate) fn mistyped_key(&self) -> Option<&str> {
        (self.kind == Kind::Type).then_some(&self.key)
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.problem)?;
        match &self.place {
            Some(place @ Place::Line { .. }) => write!(formatter, " at {place}"),
            // The name of the variable precedes the message.
            Some(Place::Variable(_)) | None => Ok(()),
        }
    }
}

impl std::error::Error for YamlError {}

impl serde::de::Error for YamlError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of_type(&described(&found), expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("invalid value: {}, expected {expected}", described(&found)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let meant = nearest(field, expected.iter().copied());
        let meant = meant.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
        let listed: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        let expected = match listed.as_slice() {
            [] => "there are no fields".to_owned(),
            [only] => format!("expected {only}"),
            [one, other] => format!("expected {one} or {other}"),
            several => format!("expected one of {}", several.join(", ")),
        };
        let problem = format!("unknown field `{}`{meant}, {expected}", field.escape_default());
        Self { kind: Kind::UnknownField, ..Self::new(problem) }
    }
}

/// Formats an unexpected value. Text is in double quotes, which mark what to omit where it could be a secret.
fn described(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("text {text:?}"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Char(_)
        | Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => found.to_string(),
    }
}

/// The known name that a misspelt one was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let within = |name: &str| if name.len() < 6 { 1 } else { 2 };
    let distances = names.map(|name| (strsim::osa_distance(word, name), name));
    distances.filter(|(distance, name)| *distance <= within(name)).min().map(|(_, name)| name)
}
