//! The settings of a token.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// Which token of a module holds the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenName {
    /// The one with this label.
    Label(String),
    /// The one with this serial number.
    Serial(String),
}

impl fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(formatter, "label {label:?}"),
            Self::Serial(serial) => write!(formatter, "serial number {serial:?}"),
        }
    }
}

/// The settings of a token.
#[derive(Clone, Debug)]
pub struct Config {
    /// The library of the token's vendor.
    pub module: PathBuf,
    /// The token.
    pub token: TokenName,
    /// The PIN of the token's normal user.
    pub pin: SecretString,
    /// How many sessions are open at most, and so how many signatures are made at the same time.
    pub sessions: usize,
    /// Whether new keys are made in the token.
    pub new_keys: bool,
    /// Whether a server starts while the token is missing.
    pub start_without_token: bool,
}
