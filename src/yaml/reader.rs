//! Deserialization of a tree into types. Every error has its key and the place of the value.

use std::fmt;
use std::slice;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::DeserializeSeed;
use serde::de::Error as _;
use serde::de::Expected;
use serde::de::IntoDeserializer as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::StrDeserializer;
use serde::forward_to_deserialize_any;

use crate::yaml::error::YamlError;
use crate::yaml::node::Entry;
use crate::yaml::node::Node;
use crate::yaml::node::Scalar;
use crate::yaml::node::Value;

/// Deserializes a tree into a type.
pub(crate) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, YamlError> {
    T::deserialize(Reader { node, key: Key::Document })
}

/// A node, and the path of keys to it.
struct Reader<'a> {
    node: &'a Node,
    key: Key<'a>,
}

#[derive(Clone, Copy)]
enum Key<'a> {
    Document,
    Named(&'a Key<'a>, &'a str),
    Item(&'a Key<'a>, usize),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => Ok(()),
            Self::Named(Self::Document, name) => formatter.write_str(name),
            Self::Named(above, name) => write!(formatter, "{above}.{name}"),
            Self::Item(above, place) => write!(formatter, "{above}[{place}]"),
        }
    }
}

impl<'a> Reader<'a> {
    fn located(&self, error: YamlError) -> YamlError {
        error.at(&self.node.place, self.key)
    }

    fn refused(&self, expected: impl fmt::Display) -> YamlError {
        let found = match &self.node.value {
            Value::Null => "null",
            Value::Plain { scalar: Scalar::Bool(_), .. } => "true or false",
            Value::Plain { scalar: Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_), .. } => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        };
        self.located(YamlError::of_type(found, expected))
    }

    /// Serde's terms for text are replaced; what this crate's types expect is shown unchanged.
    fn text(&self, expected: &dyn Expected) -> Result<&'a str, YamlError> {
        let expected = expected.to_string();
        let is_any = matches!(expected.as_str(), "a string" | "path string" | "a character");
        match &self.node.value {
            Value::Text(text) | Value::Plain { text: Some(text), .. } => Ok(text),
            Value::Plain { text: None, .. } if is_any => Err(self.refused("text: write it in quotes")),
            Value::Null | Value::List(_) | Value::Mapping(_) if is_any => Err(self.refused("text")),
            Value::Plain { text: None, .. } | Value::Null | Value::List(_) | Value::Mapping(_) => {
                Err(self.refused(expected))
            }
        }
    }

    fn integer<'de, V: Visitor<'de>>(self, least: i128, most: i128, visitor: V) -> Result<V::Value, YamlError> {
        let number = match self.node.value {
            Value::Plain { scalar: Scalar::Unsigned(number), .. } => i128::from(number),
            Value::Plain { scalar: Scalar::Signed(number), .. } => i128::from(number),
            Value::Plain { scalar: Scalar::Bool(_) | Scalar::Float(_), .. }
            | Value::Null
            | Value::Text(_)
            | Value::List(_)
            | Value::Mapping(_) => return Err(self.refused("a whole number")),
        };
        let read = match (u64::try_from(number), i64::try_from(number)) {
            _ if !(least..=most).contains(&number) => {
                let range = if most == u64::MAX.into() { "up".to_owned() } else { format!("to {most}") };
                Err(YamlError::new(format!("invalid value: {number}, expected a whole number from {least} {range}")))
            }
            (Ok(number), _) => visitor.visit_u64(number),
            (Err(_), Ok(number)) => visitor.visit_i64(number),
            (Err(error), Err(_)) => Err(YamlError::custom(error)),
        };
        read.map_err(|error| self.located(error))
    }

    fn mapping<'de, V: Visitor<'de>>(self, expected: &str, visitor: V) -> Result<V::Value, YamlError> {
        let Value::Mapping(entries) = &self.node.value else { return Err(self.refused(expected)) };
        visitor
            .visit_map(Entries { above: &self.key, rest: entries.iter(), value: None })
            .map_err(|error| self.located(error))
    }
}

macro_rules! integers {
    ($($method:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
            self.integer($type::MIN.into(), $type::MAX.into(), visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = YamlError;

    integers! {
        deserialize_i8 i8
        deserialize_i16 i16
        deserialize_i32 i32
        deserialize_i64 i64
        deserialize_u8 u8
        deserialize_u16 u16
        deserialize_u32 u32
        deserialize_u64 u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let read = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Plain { scalar: Scalar::Bool(value), .. } => visitor.visit_bool(*value),
            Value::Plain { scalar: Scalar::Unsigned(number), .. } => visitor.visit_u64(*number),
            Value::Plain { scalar: Scalar::Signed(number), .. } => visitor.visit_i64(*number),
            Value::Plain { scalar: Scalar::Float(number), .. } => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Mapping(_) => return self.deserialize_map(visitor),
        };
        read.map_err(|error| self.located(error))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let Value::Plain { scalar: Scalar::Bool(value), .. } = self.node.value else {
            return Err(self.refused("true or false"));
        };
        visitor.visit_bool(value).map_err(|error| self.located(error))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match self.node.value {
            Value::Plain { scalar: Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_), .. } => {
                self.deserialize_any(visitor)
            }
            Value::Plain { scalar: Scalar::Bool(_), .. }
            | Value::Null
            | Value::Text(_)
            | Value::List(_)
            | Value::Mapping(_) => Err(self.refused("a number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let text = self.text(&visitor)?;
        visitor.visit_str(text).map_err(|error| self.located(error))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            Value::Plain { .. } | Value::Text(_) | Value::List(_) | Value::Mapping(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, YamlError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let Value::List(nodes) = &self.node.value else { return Err(self.refused("a list")) };
        visitor
            .visit_seq(Items { above: &self.key, nodes: nodes.iter().enumerate() })
            .map_err(|error| self.located(error))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let expected = (&visitor as &dyn Expected).to_string();
        // The standard library's maps say "a map".
        self.mapping(if expected.starts_with("a mapping") { &expected } else { "a mapping" }, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        let expected = (&visitor as &dyn Expected).to_string();
        // The name of a Rust type means nothing to users.
        let expected = if expected == format!("struct {name}") { "a mapping" } else { &expected };
        self.mapping(expected, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        let Value::Text(word) = &self.node.value else {
            return Err(self.refused(format_args!("one of {}", variants.join(", "))));
        };
        let word: StrDeserializer<'_, YamlError> = word.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|error| self.located(error))
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple_struct ignored_any }
}

struct Items<'a> {
    above: &'a Key<'a>,
    nodes: std::iter::Enumerate<slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = YamlError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, YamlError> {
        let Some((place, node)) = self.nodes.next() else { return Ok(None) };
        value(seed, node, Key::Item(self.above, place)).map(Some)
    }
}

struct Entries<'a> {
    above: &'a Key<'a>,
    rest: slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = YamlError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, YamlError> {
        self.value = self.rest.next();
        let Some(entry) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, YamlError> = entry.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.at(&entry.place, self.above))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, YamlError> {
        let entry = self.value.take().ok_or_else(|| YamlError::new("a value without its key"))?;
        value(seed, &entry.node, Key::Named(self.above, &entry.name))
    }
}

/// Errors that are found after a value is read, such as a number that is too small, also refer to that value.
fn value<'de, T: DeserializeSeed<'de>>(seed: T, node: &Node, key: Key<'_>) -> Result<T::Value, YamlError> {
    seed.deserialize(Reader { node, key }).map_err(|error| error.at(&node.place, key))
}
