//! Where results and complaints are printed.

use std::io;
use std::io::ErrorKind;
use std::io::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::error::CommandError;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// For people. May change from version to version.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Prints lines to stdout.
pub(in crate::cli) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    let text = visible(text.strip_suffix('\n').unwrap_or(text));
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(CommandError::new(format!("cannot write to stdout: {error}"), "see where the output is sent"))
        }
        Ok(()) => Ok(()),
    }
}

/// Prints a JSON document to stdout.
pub(in crate::cli) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        CommandError::new(format!("the answer cannot be shown as JSON: {error}"), "leave out -o json")
    })?;
    print(&text)
}

/// Says something beside the result, on stderr.
pub(in crate::cli) fn note(text: &str) {
    // Nobody is left to be told that nobody listens.
    let _written = writeln!(io::stderr().lock(), "{}", visible(text)).is_ok();
}

/// Says on stderr what went wrong, and on a second line what to do next.
pub(in crate::cli) fn complain(error: &CommandError) {
    note(&format!("error: {error}\n  next: {}", error.next()));
}

/// Tokens, files and answers come from elsewhere: a control character in them must not steer the terminal. The form is
/// the one that JSON strings have, so that JSON stays what it was.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            let code = format!("\\u{:04x}", u32::from(character));
            shown.push_str(&code);
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out_and_lines_are_kept() {
        assert_eq!(visible("a\u{1b}[2J\u{9b}\nb"), "a\\u001b[2J\\u009b\nb");
        assert_eq!(visible("Zürich ✓"), "Zürich ✓");
    }
}
