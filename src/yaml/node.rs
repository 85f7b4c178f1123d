//! The tree of a document.

use crate::yaml::place::Place;

/// A value and its place. There is no `Debug`, since the value may be the key-encryption key.
pub(crate) struct Node {
    pub(in crate::yaml) place: Place,
    pub(in crate::yaml) value: Value,
}

pub(in crate::yaml) enum Value {
    Null,
    /// A scalar other than text, as written in `text` if it may be read as text.
    Plain {
        scalar: Scalar,
        text: Option<String>,
    },
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Copy)]
pub(in crate::yaml) enum Scalar {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

pub(in crate::yaml) struct Entry {
    pub(in crate::yaml) name: String,
    /// The place of the name; the value has its own.
    pub(in crate::yaml) place: Place,
    pub(in crate::yaml) node: Node,
}

impl Node {
    /// Nests mappings of one entry each, down to `node`.
    pub(crate) fn nested(keys: &[&str], node: Self) -> Self {
        keys.iter().rev().fold(node, |node, key| {
            let entry = Entry { name: (*key).to_owned(), place: node.place.clone(), node };
            Self { place: entry.place.clone(), value: Value::Mapping(vec![entry]) }
        })
    }

    /// Merges another tree into this one: mappings are merged, everything else is replaced.
    pub(crate) fn overlay(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Mapping(entries), Value::Mapping(others)) => {
                for other in others {
                    match entries.iter_mut().find(|entry| entry.name == other.name) {
                        Some(entry) => entry.node.overlay(other.node),
                        None => entries.push(other),
                    }
                }
            }
            (value, other) => {
                *value = other;
                self.place = over.place;
            }
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.name == key).map(|entry| &entry.node),
            Value::Null | Value::Plain { .. } | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Takes a key out of a mapping, and returns its value.
    pub(crate) fn take(&mut self, key: &str) -> Option<Self> {
        let Value::Mapping(entries) = &mut self.value else { return None };
        let place = entries.iter().position(|entry| entry.name == key)?;
        Some(entries.remove(place).node)
    }

    /// The place of `a.b.c`, or of the longest part of that path that exists.
    pub(crate) fn place_of(&self, key: &str) -> Option<&Place> {
        let mut names = key.split('.');
        let mut node = self.get(names.next()?)?;
        while let Some(below) = names.next().and_then(|name| node.get(name)) {
            node = below;
        }
        Some(&node.place)
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    /// Sets the place of this node and of everything in it.
    pub(in crate::yaml) fn placed(self, place: &Place) -> Self {
        let value = match self.value {
            Value::List(nodes) => Value::List(nodes.into_iter().map(|node| node.placed(place)).collect()),
            Value::Mapping(entries) => {
                let entries = entries.into_iter();
                let entries =
                    entries.map(|entry| Entry { place: place.clone(), node: entry.node.placed(place), ..entry });
                Value::Mapping(entries.collect())
            }
            value @ (Value::Null | Value::Plain { .. } | Value::Text(_)) => value,
        };
        Self { place: place.clone(), value }
    }
}
