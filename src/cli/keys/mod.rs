//! `lanyard keys`.

mod list;
mod listed;
mod reseal;
mod revoke;
mod rotate;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::keys::list::ListArguments;
use crate::cli::keys::reseal::ResealArguments;
use crate::cli::keys::revoke::RevokeArguments;
use crate::cli::keys::rotate::RotateArguments;
use crate::cli::output::Format;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// Lists the signing keys with their states.
    List(ListArguments),
    /// Publishes a new signing key, which signs once all replicas serve it and verifiers have had the time to fetch it.
    Rotate(RotateArguments),
    /// Revokes a signing key for good: every token that it signed is refused. Another key signs at once.
    Revoke(RevokeArguments),
    /// Seals all signing keys under the first of the configured key-encryption keys.
    Reseal(ResealArguments),
}

pub(in crate::cli) async fn run(command: KeysCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        KeysCommand::List(arguments) => list::run(arguments, format).await?,
        KeysCommand::Rotate(arguments) => rotate::run(arguments, format).await?,
        KeysCommand::Revoke(arguments) => revoke::run(arguments, format).await?,
        KeysCommand::Reseal(arguments) => reseal::run(arguments, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}
