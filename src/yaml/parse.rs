//! Conversion between texts and trees.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::Location;
use serde_saphyr::MergeKeyPolicy;
use serde_saphyr::MessageFormatter as _;
use serde_saphyr::NonFiniteFloatPolicy;
use serde_saphyr::Options;
use serde_saphyr::Spanned;
use serde_saphyr::UserMessageFormatter;

use crate::yaml::error::YamlError;
use crate::yaml::node::Entry;
use crate::yaml::node::Node;
use crate::yaml::node::Scalar;
use crate::yaml::node::Value;
use crate::yaml::place::Place;

/// How a plain `123` or `true` is treated where text is expected. Null is never text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PlainScalars {
    /// It is refused: text must be in quotes.
    AreNoText,
    /// It is accepted as written.
    MayBeText,
}

/// The most nodes that aliases may add to those in the text: a short text of aliases could expand to billions.
const MOST_ALIASED: usize = 250_000;

/// Parses the documents of a text, which may begin with a byte order mark. Empty documents are skipped.
pub(crate) fn documents(text: &str, plain: PlainScalars) -> Result<Vec<Node>, YamlError> {
    let parsed: Vec<Spanned<Parsed>> =
        serde_saphyr::from_multiple_with_options(text, options(text)).map_err(|error| explained(&error))?;
    Ok(parsed
        .into_iter()
        .map(|parsed| parsed.value.into_node(&parsed.referenced, &parsed.defined, text, plain))
        .collect())
}

/// Parses a text that must be one document.
pub(crate) fn document(text: &str, plain: PlainScalars) -> Result<Node, YamlError> {
    let mut documents = documents(text, plain)?.into_iter();
    let document = documents.next().ok_or_else(|| YamlError::new("it is empty"))?;
    match documents.next() {
        None => Ok(document),
        Some(second) => Err(YamlError::new("it holds more than one document").at(&second.place, "")),
    }
}

/// Parses the value of an environment variable. A value that begins like a list, a mapping or a quoted string is parsed
/// as YAML; any other one is plain text, or the number or Boolean that is expected.
pub(crate) fn variable(name: &str, text: &str) -> Node {
    let place = Place::Variable(Arc::from(name));
    if text.trim_start().starts_with(['[', '{', '"', '\''])
        && let Ok(document) = document(text, PlainScalars::MayBeText)
    {
        return document.placed(&place);
    }
    let bare = text.trim();
    let scalar = None
        .or_else(|| bare.parse().ok().map(Scalar::Bool))
        .or_else(|| bare.parse().ok().map(Scalar::Unsigned))
        .or_else(|| bare.parse().ok().map(Scalar::Signed))
        .or_else(|| bare.parse().ok().map(Scalar::Float));
    let text = text.to_owned();
    let value = match scalar {
        Some(scalar) => Value::Plain { scalar, text: Some(text) },
        None => Value::Text(text),
    };
    Node { place, value }
}

/// Serializes a document.
pub(crate) fn to_string(value: &impl Serialize) -> Result<String, YamlError> {
    // No line is folded: a text stays on one line.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| YamlError::new(error.to_string()))
}

fn options(text: &str) -> Options {
    // Each node in the text takes at least one byte.
    let most = text.len().saturating_add(MOST_ALIASED);
    serde_saphyr::options! {
        // Messages contain no line of the text, which may hold a key.
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_documents: most,
            max_nodes: most,
            max_events: most.saturating_mul(4),
            max_anchors: most,
            max_aliases: most,
            enforce_alias_anchor_ratio: false,
        },
    }
}

fn explained(error: &serde_saphyr::Error) -> YamlError {
    let problem = problem_of(error);
    match error.location() {
        Some(location) => YamlError::new(problem).at(&place_of(&location), ""),
        None => YamlError::new(problem),
    }
}

/// The parser's messages are shown to users, except where they name its options or its types.
#[expect(clippy::wildcard_enum_match_arm, reason = "there are sixty kinds, and more to come")]
fn problem_of(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Parser;
    match error {
        Parser::AliasError { error, .. } => problem_of(error),
        Parser::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key `{}`", key.escape_default()),
        Parser::NullIntoString { .. } => "invalid type: null, expected a key".to_owned(),
        Parser::UnknownAnchor { .. } => "an alias of an anchor that is not there".to_owned(),
        Parser::RecursiveReferencesRequireWeakTypes { .. } => "an alias within its own anchor".to_owned(),
        Parser::Budget { .. }
        | Parser::AliasReplayLimitExceeded { .. }
        | Parser::AliasReplayStackDepthExceeded { .. } => "too many aliases, or nested too deeply".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn place_of(location: &Location) -> Place {
    Place::Line { line: location.line(), column: location.column() }
}

/// What the parser reports about a node.
enum Parsed {
    Null,
    Plain(Scalar),
    Text(String),
    List(Vec<Spanned<Parsed>>),
    Mapping(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

impl Parsed {
    /// `used` is the place of an alias, and `defined` that of its anchor; without an alias they are the same.
    fn into_node(self, used: &Location, defined: &Location, text: &str, plain: PlainScalars) -> Node {
        let below = |parsed: Spanned<Self>| parsed.value.into_node(&parsed.referenced, &parsed.defined, text, plain);
        let value = match self {
            Self::Null => Value::Null,
            Self::Plain(scalar) => {
                let text = match plain {
                    PlainScalars::AreNoText => None,
                    PlainScalars::MayBeText => written(defined, text),
                };
                Value::Plain { scalar, text }
            }
            Self::Text(text) => Value::Text(text),
            Self::List(list) => Value::List(list.into_iter().map(below).collect()),
            Self::Mapping(entries) => {
                let entry = |(name, parsed): (Spanned<String>, _)| Entry {
                    place: place_of(&name.referenced),
                    name: name.value,
                    node: below(parsed),
                };
                Value::Mapping(entries.into_iter().map(entry).collect())
            }
        };
        Node { place: place_of(used), value }
    }
}

/// The style of a scalar.
fn written(location: &Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?).map(str::to_owned)
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Parsed;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a YAML node")
            }

            fn visit_unit<E>(self) -> Result<Parsed, E> {
                Ok(Parsed::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
                Ok(Parsed::Plain(Scalar::Bool(value)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Parsed, E> {
                Ok(Parsed::Plain(Scalar::Unsigned(number)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Parsed, E> {
                Ok(Parsed::Plain(Scalar::Signed(number)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Parsed, E> {
                Ok(Parsed::Plain(Scalar::Float(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
                Ok(Parsed::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Parsed, E> {
                Ok(Parsed::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parsed, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(Parsed::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Parsed, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = mapping.next_entry()? {
                    entries.push(entry);
                }
                Ok(Parsed::Mapping(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
