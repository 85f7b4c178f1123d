//! Where values come from.

use std::fmt;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A text; both count from 1.
    Line {
        /// The line.
        line: u64,
        /// The character in it.
        column: u64,
    },
    /// A variable of the environment, by its name.
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
