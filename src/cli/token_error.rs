//! The messages for a token that could not be issued.

use crate::cli::error::CommandError;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::token::TokenError;

/// Turns the error into a message with the next step.
pub(in crate::cli) fn explain_token(error: TokenError) -> CommandError {
    match error {
        TokenError::Files(error) => error.into(),
        TokenError::Connection(_, status) | TokenError::Unavailable(status) | TokenError::Refused(status) => {
            status::explain(&status, Needs::Workload)
        }
        TokenError::WorkloadApi(_) => CommandError::new(
            error.to_string(),
            "see that its agent runs at the --workload-api socket and has an entry for this workload",
        ),
        TokenError::Malformed(_) | TokenError::NoToken => {
            CommandError::new(error.to_string(), "see that this command is not older than the server")
        }
    }
}
