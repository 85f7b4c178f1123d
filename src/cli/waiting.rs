//! What is said of changes that wait for a second admin.

use crate::cli::error::CommandError;

/// The code of a change that waits for a second admin.
pub(in crate::cli) const CODE: &str = "PROPOSED";

/// The error that changes wait for a second admin.
pub(in crate::cli) fn waiting(proposals: &[String]) -> CommandError {
    let problem = match proposals {
        [one] => format!("{one} waits for a second admin, and is not made ({CODE})"),
        [..] => format!("{} changes wait for a second admin, and are not made ({CODE})", proposals.len()),
    };
    let next =
        "have another admin see them with `lanyard proposals list`, and approve each: `lanyard proposals approve ID`";
    CommandError::new(problem, next).with_code(CODE.to_owned())
}
