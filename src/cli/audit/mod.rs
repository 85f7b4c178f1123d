//! `lanyard audit`.

mod heads;
mod verify;

use clap::Subcommand;

use crate::cli::audit::heads::HeadsArguments;
pub(in crate::cli) use crate::cli::audit::heads::run as heads;
use crate::cli::audit::verify::VerifyArguments;
pub(in crate::cli) use crate::cli::audit::verify::run as verify;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// Checks whether files of the audit trail are as the server wrote them, without a server.
    ///
    /// Exit codes: 0 they are, 1 they are not, 2 they could not be read.
    Verify(VerifyArguments),
    /// Lists the last record of each chain that the store has: with `-o json`, for `verify --heads`.
    Heads(HeadsArguments),
}
