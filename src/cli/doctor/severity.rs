//! How grave a finding is.

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli::doctor) enum Status {
    /// In order.
    Ok,
    /// It works, and should not stay as it is.
    Warning,
    /// It does not work.
    Error,
    /// Nothing can be said, since something that it needs is not there.
    NotChecked,
}
