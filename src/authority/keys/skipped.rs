//! The keys of a published set that are not used, for the log.

use std::fmt;

use serde_json::Value;

/// The most keys that are named; the others are counted.
const MAX_NAMED: usize = 8;

/// The longest `kid` or `use` that is printed whole, in characters.
const MAX_CHARACTERS: usize = 64;

/// A key that is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SkippedKey {
    /// Its place in `keys`, from 1.
    pub number: usize,
    /// Its `kid`, where it has one.
    pub kid: Option<String>,
    /// Its `use`, where it has one.
    pub usage: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

impl SkippedKey {
    /// The key at `place`, from 0.
    pub(in crate::authority) fn new(place: usize, key: &Value, why: impl fmt::Display) -> Self {
        let member = |name: &str| key.get(name).and_then(Value::as_str).map(shortened);
        Self { number: place + 1, kid: member("kid"), usage: member("use"), why: why.to_string() }
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key number {}", self.number)?;
        if let Some(kid) = &self.kid {
            write!(formatter, " with kid {kid:?}")?;
        }
        if let Some(usage) = &self.usage {
            write!(formatter, " and use {usage:?}")?;
        }
        write!(formatter, ": {}", self.why)
    }
}

/// All keys of a set that are not used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SkippedKeys(pub Vec<SkippedKey>);

impl fmt::Display for SkippedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().take(MAX_NAMED).enumerate() {
            let before = if place == 0 { "" } else { "; " };
            write!(formatter, "{before}{key}")?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(formatter, "; and {more} more"),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
