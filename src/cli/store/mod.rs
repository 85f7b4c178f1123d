//! `lanyard store`: commands on the store of a server that is stopped.

mod unrevoke;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::store::unrevoke::UnrevokeArguments;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StoreCommand {
    /// Lifts a revocation in the store of a stopped server, for when no admin is left who could lift it.
    ///
    /// Tokens that were issued before stay refused, but those that are bound to a certificate.
    Unrevoke(UnrevokeArguments),
}

pub(in crate::cli) async fn run(command: StoreCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        StoreCommand::Unrevoke(arguments) => unrevoke::run(arguments, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}
