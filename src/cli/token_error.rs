//! What a person reads where no token could be had.

use crate::cli::error::CommandError;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::token::TokenError;

/// Says why there is no token, or no certificate to get one with.
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
