//! `lanyard revocation`.

mod list;
mod listed;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::revocation::list::ListArguments;

pub(in crate::cli) use crate::cli::revocation::listed::ListedRevocation;
pub(in crate::cli) use crate::cli::revocation::listed::of_clients;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RevocationCommand {
    /// Lists what is revoked, by whom and until when. It needs the role Admin, Auditor or Revoker; `lanyard token revoke` revokes and lifts.
    List(ListArguments),
}

pub(in crate::cli) async fn run(command: RevocationCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        RevocationCommand::List(arguments) => list::run(arguments, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}
