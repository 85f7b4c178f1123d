//! The places of values.

use std::fmt;
use std::sync::Arc;

/// The place of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A place in a text; both numbers start at 1.
    Line {
        /// The line number.
        line: u64,
        /// The character in the line.
        column: u64,
    },
    /// An environment variable, by its name.
    Variable(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, column } => write!(formatter, "line {line} column {column}"),
            Self::Variable(name) => formatter.write_str(name),
        }
    }
}
