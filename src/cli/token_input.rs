//! A token as an argument of a command. Every user of the machine can read a command line in the list of processes, so
//! the token can also come from stdin or a file.

use std::fs;
use std::io;
use std::io::Read as _;

use prost_types::Struct;
use serde_json::Value;

use crate::authority::json;
use crate::cli::error::CommandError;
use crate::messages::json_struct;

/// The size limit in bytes, far above that of any token: a file named by mistake is not read to its end.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

/// The source of a token.
#[derive(Clone)]
pub(in crate::cli) enum TokenInput {
    /// Stdin.
    Stdin,
    /// This file.
    File(String),
    /// The token itself.
    Token(String),
}

/// Leaves out the token.
impl std::fmt::Debug for TokenInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenInput")
    }
}

impl From<&str> for TokenInput {
    fn from(text: &str) -> Self {
        match (text, text.strip_prefix('@')) {
            ("-", _) => Self::Stdin,
            (_, Some(path)) => Self::File(path.to_owned()),
            (token, None) => Self::Token(token.to_owned()),
        }
    }
}

impl TokenInput {
    /// Reads the token and trims white space.
    pub(in crate::cli) fn read(self) -> Result<String, CommandError> {
        let (source, text) = match self {
            Self::Token(token) => ("the command line".to_owned(), Ok(token)),
            Self::Stdin => ("stdin".to_owned(), read(io::stdin().lock())),
            Self::File(path) => {
                let text = fs::File::open(&path).and_then(read);
                (path, text)
            }
        };
        let text = text.map_err(|error| {
            CommandError::new(format!("no token from {source}: {error}"), "give it as @FILE, or as - through a pipe")
        })?;
        let token = text.trim();
        if token.is_empty() {
            let next = "give a token as @FILE, or as - through a pipe, such as from `lanyard token get`";
            return Err(CommandError::new(format!("no token from {source}: it is empty"), next));
        }
        Ok(token.to_owned())
    }

    /// Reads the JSON object that an option is given in place of a token.
    pub(in crate::cli) fn read_object(self, option: &str) -> Result<Struct, CommandError> {
        let Ok(Value::Object(object)) = json::parse(self.read()?.as_bytes()) else {
            let problem = format!("{option} is no JSON object without duplicate members");
            return Err(CommandError::new(problem, "give an object, such as '{\"order\":\"17\"}', or @FILE with one"));
        };
        Ok(json_struct(&object))
    }
}

fn read(source: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_INPUT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_file_loses_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "a.b.c\n").unwrap();
        let named = format!("@{}", file.path().display());
        assert_eq!(TokenInput::from(named.as_str()).read().unwrap(), "a.b.c");
        fs::write(file.path(), " \n").unwrap();
        assert!(TokenInput::from(named.as_str()).read().is_err());
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        assert!(!format!("{:?}", TokenInput::from("a.b.c")).contains("a.b"));
    }
}
