//! `lanyard audit`.

mod heads;
mod search;
mod verify;

use clap::Subcommand;

use crate::cli::audit::heads::HeadsArguments;
pub(in crate::cli) use crate::cli::audit::heads::run as heads;
use crate::cli::audit::search::SearchArguments;
pub(in crate::cli) use crate::cli::audit::search::run as search;
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
    /// Prints the records of the files that are about something, without a server.
    ///
    /// Who got tokens by a change: `--event token_issued --client NAME --revision NUMBER`, with the revision that the record
    /// of the change has.
    Search(SearchArguments),
}
