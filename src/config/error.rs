//! Why there is no configuration.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::yaml;
use crate::yaml::Node;
use crate::yaml::Place;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not YAML, an unknown key, or a value of another type; with the key and the line.
    #[error("{path}: {error}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The problem and its place.
        error: yaml::YamlError,
    },
    /// A variable of the environment sets an unknown key, or a value of another type.
    #[error("the environment: {variable}: {error}")]
    Environment {
        /// Its name.
        variable: String,
        /// The problem.
        error: yaml::YamlError,
    },
    /// A variable of the environment is misspelt.
    #[error("the environment: {variable}: unknown variable, {hint}")]
    UnknownVariable {
        /// Its name.
        variable: String,
        /// The name that is meant.
        hint: String,
    },
    /// A value that cannot stand.
    #[error("{key}: {problem}{}", Suffix(.origin.as_deref()))]
    Value {
        /// The key, such as `trust.trust_domain`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// The file and the line, or the variable of the environment.
        origin: Option<String>,
    },
}

impl ConfigError {
    /// Whether a key or a variable is not known.
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

    /// With the place of a value.
    pub(super) fn located(self, path: &Path, tree: &Node) -> Self {
        let Self::Value { key, problem, origin: None } = self else { return self };
        let origin = tree.place_of(key).map(|place| match place {
            Place::Variable(name) => name.to_string(),
            Place::Line { .. } => format!("{}, {place}", path.display()),
        });
        Self::Value { key, problem, origin }
    }
}

/// In brackets, if it is there.
struct Suffix<'a>(Option<&'a str>);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(formatter, " ({text})"))
    }
}

pub(super) fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned(), origin: None }
}
