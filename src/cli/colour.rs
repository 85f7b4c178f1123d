//! Colours of marks, where a terminal shows them.

use std::env;
use std::ffi::OsString;
use std::io;
use std::io::IsTerminal as _;

/// The colour of a mark.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Colour {
    Green,
    Yellow,
    Red,
}

impl Colour {
    /// The text in this colour (ECMA-48, SGR).
    pub(in crate::cli) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether stdout shows colours: a terminal that is not dumb, and whose user has not set `NO_COLOR` (no-color.org).
pub(in crate::cli) fn on_stdout() -> bool {
    io::stdout().is_terminal() && wanted(|name| env::var_os(name))
}

fn wanted(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_unless_it_is_empty_and_a_dumb_terminal_has_none() {
        let with = |no_color: Option<&str>, term: Option<&str>| {
            wanted(|name| if name == "TERM" { term } else { no_color }.map(OsString::from))
        };
        assert!(with(None, Some("xterm")) && with(Some(""), Some("xterm")));
        for (no_color, term) in [(Some("1"), Some("xterm")), (None, Some("dumb")), (None, None), (None, Some(""))] {
            assert!(!with(no_color, term), "{no_color:?} {term:?}");
        }
    }
}
