//! The result of a check.

use serde::Serialize;

/// The status of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli::doctor) enum Status {
    /// The check passed.
    Ok,
    /// It works at present but should be changed.
    Warning,
    /// It does not work.
    Error,
    /// The check could not be made, since something that it needs is missing.
    NotChecked,
}
