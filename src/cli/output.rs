//! Prints results to stdout, and notes and errors to stderr.

use std::io;
use std::io::ErrorKind;
use std::io::Write as _;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::cli::colour;
use crate::cli::colour::Colour;
use crate::cli::error::CommandError;

/// The output format of commands that print records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(in crate::cli) enum RecordFormat {
    /// Text for people. It may change from version to version.
    #[default]
    Text,
    /// One JSON document for programs; an error is one on stderr.
    Json,
    /// Of `client` and `resource`, `get` and `list`: YAML documents that `apply` takes.
    Yaml,
    /// Of the same: only the names.
    Name,
    /// Of the same: a table with more columns.
    Wide,
}

/// The output format of the other commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum Format {
    Text,
    Json,
}

impl RecordFormat {
    /// The format for a command that prints no records, unless it has none of that name.
    pub(in crate::cli) fn plain(self) -> Result<Format, CommandError> {
        match self {
            Self::Text => Ok(Format::Text),
            Self::Json => Ok(Format::Json),
            Self::Yaml | Self::Name | Self::Wide => {
                Err(CommandError::new("this command prints text or JSON", "use -o json, or leave out -o"))
            }
        }
    }

    /// The format of an error.
    pub(in crate::cli) fn of_errors(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Text | Self::Yaml | Self::Name | Self::Wide => Format::Text,
        }
    }
}

/// Prints lines to stdout.
pub(in crate::cli) fn print(text: &str) -> Result<(), CommandError> {
    print_while_read(text).map(drop)
}

/// Prints lines to stdout. Returns whether there is somebody who reads it.
pub(in crate::cli) fn print_while_read(text: &str) -> Result<bool, CommandError> {
    write_out(&escape(text.strip_suffix('\n').unwrap_or(text)))
}

/// Prints lines to stdout. Where it shows colours, one of these marks at the beginning of a line has its colour.
pub(in crate::cli) fn print_marked(text: &str, marks: &[(&str, Colour)]) -> Result<(), CommandError> {
    if !colour::on_stdout() {
        return print(text);
    }
    let lines = text.lines().map(|line| {
        let marked = marks.iter().find_map(|(mark, colour)| Some((colour.paint(mark), line.strip_prefix(mark)?)));
        // The colours are ours, and the rest may come from elsewhere.
        marked.map_or_else(|| escape(line), |(mark, rest)| format!("{mark}{}", escape(rest)))
    });
    write_out(&lines.collect::<Vec<_>>().join("\n")).map(drop)
}

/// Writes lines that are escaped already.
fn write_out(text: &str) -> Result<bool, CommandError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        // The reader, such as `head`, needs no more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(CommandError::new(format!("cannot write to stdout: {error}"), "see where the output is sent"))
        }
        Ok(()) => Ok(true),
    }
}

/// Prints a JSON document to stdout.
pub(in crate::cli) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        CommandError::new(format!("the answer cannot be printed as JSON: {error}"), "leave out -o json")
    })?;
    print(&text)
}

/// Prints a note to stderr.
pub(in crate::cli) fn note(text: &str) {
    // Ignore errors writing to stderr.
    let _written = writeln!(io::stderr().lock(), "{}", escape(text)).is_ok();
}

/// Prints an error to stderr: as text, with the next step on a second line, or as a JSON document.
pub(in crate::cli) fn print_error(error: &CommandError, format: Format) {
    match format {
        Format::Text => {
            let reference = error.reference().map(|reference| format!(", reference {reference}")).unwrap_or_default();
            note(&format!("error: {error}{reference}\n  next: {}", error.next()));
        }
        Format::Json => {
            let (code, next, reference) = (error.code(), error.next(), error.reference());
            let error = error.to_string();
            note(&json!({ "error": error, "code": code, "next": next, "reference": reference }).to_string());
        }
    }
}

/// Escapes control characters, since tokens, files and responses come from elsewhere and must not steer the terminal.
/// The form is that of JSON strings, so that JSON stays unchanged in meaning.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            let code = format!("\\u{:04x}", u32::from(character));
            escaped.push_str(&code);
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A text of a message for JSON; none where it is empty.
pub(in crate::cli) fn present(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_lines_are_kept() {
        assert_eq!(escape("a\u{1b}[2J\u{9b}\nb"), "a\\u001b[2J\\u009b\nb");
        assert_eq!(escape("Zürich ✓"), "Zürich ✓");
    }
}
