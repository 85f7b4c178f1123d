//! `lanyard --version -o json`.

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::json;
use strum::VariantArray as _;

use crate::authority::state::Feature;
use crate::cli::output;

/// The git commit, where whoever built this set `LANYARD_COMMIT`.
const COMMIT: Option<&str> = option_env!("LANYARD_COMMIT");

/// Prints the version, the commit that it was built from where that is known, and the features of the store that it has.
pub(in crate::cli) fn print_json() -> ExitCode {
    let features: Vec<&str> = Feature::VARIANTS.iter().map(|feature| feature.name()).collect();
    let document = json!({ "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT, "features": features });
    if output::print_json(&document).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a command line asks for JSON, also where it was not parsed to its end.
pub(in crate::cli) fn asks_for_json(line: &[OsString]) -> bool {
    let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
    let joined = ["-ojson", "-o=json", "--output=json"];
    words.iter().any(|word| joined.contains(&word.as_ref()))
        || words
            .windows(2)
            .any(|pair| matches!(pair, [flag, value] if ["-o", "--output"].contains(&flag.as_ref()) && value == "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_in_each_way_that_the_parser_takes() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in ["-o json", "--version -o json", "-ojson", "-o=json", "--output json -V", "--output=json"] {
            assert!(asks(line), "{line}");
        }
        for line in ["--version", "-o text", "json -o", "--output", "--output text json"] {
            assert!(!asks(line), "{line}");
        }
    }
}
