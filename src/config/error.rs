//! Configuration errors.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::yaml;
use crate::yaml::Node;
use crate::yaml::Place;

/// Why the configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        error: io::Error,
    },
    /// The file is not YAML, or has an unknown key or a value of another type. The problem includes the key and the
    /// line.
    #[error("{path}: {error}")]
    Yaml {
        /// The path of the file.
        path: PathBuf,
        /// The problem and its place.
        error: yaml::YamlError,
    },
    /// An environment variable sets an unknown key, or a value of another type.
    #[error("the environment: {variable}: {error}")]
    Environment {
        /// The name of the variable.
        variable: String,
        /// The problem.
        error: yaml::YamlError,
    },
    /// The name of an environment variable is misspelt.
    #[error("the environment: {variable}: unknown variable, {hint}")]
    UnknownVariable {
        /// The misspelt name.
        variable: String,
        /// The name that was probably meant.
        hint: String,
    },
    /// A value is invalid.
    #[error("{key}: {problem}{}", Suffix(.origin.as_deref()))]
    Value {
        /// The key, such as `trust.trust_domain`.
        key: &'static str,
        /// What is wrong with the value.
        problem: String,
        /// The file and the line, or the environment variable.
        origin: Option<String>,
    },
}

impl ConfigError {
    /// Whether the error is an unknown key or variable.
    pub(crate) fn is_unknown_key(&self) -> bool {
        match self {
            Self::UnknownVariable { .. } => true,
            Self::Yaml { error, .. } | Self::Environment { error, .. } => error.is_unknown_field(),
            Self::Unreadable { .. } | Self::Value { .. } => false,
        }
    }

    pub(super) fn of(path: &Path, error: yaml::YamlError) -> Self {
        match error.place() {
            Some(Place::Variable(name)) => Self::Environment { variable: name.to_string(), error },
            Some(Place::Line { .. }) | None => Self::Yaml { path: path.to_owned(), error },
        }
    }

    /// Adds the place of the value.
    pub(super) fn located(self, path: &Path, tree: &Node) -> Self {
        let Self::Value { key, problem, origin: None } = self else { return self };
        let origin = tree.place_of(key).map(|place| match place {
            Place::Variable(name) => name.to_string(),
            Place::Line { .. } => format!("{}, {place}", path.display()),
        });
        Self::Value { key, problem, origin }
    }
}

/// Formats the place in brackets, if it is known.
struct Suffix<'a>(Option<&'a str>);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(formatter, " ({text})"))
    }
}

pub(super) fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned(), origin: None }
}
