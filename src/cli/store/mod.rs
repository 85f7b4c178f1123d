//! `lanyard store`: backs up, restores, moves and checks what a server's store holds.

mod compact;
mod copy;
mod export;
mod feature;
mod import;
mod migrate;
mod opened;
mod out;
mod unrevoke;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::store::compact::CompactArguments;
pub(in crate::cli) use crate::cli::store::copy::Copy;
pub(in crate::cli) use crate::cli::store::copy::NoCopy;
use crate::cli::store::export::ExportArguments;
use crate::cli::store::feature::FeatureCommand;
use crate::cli::store::import::ImportArguments;
use crate::cli::store::migrate::MigrateArguments;
pub(in crate::cli) use crate::cli::store::opened::is_in_use;
use crate::cli::store::unrevoke::UnrevokeArguments;
use crate::cli::store::verify::VerifyArguments;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StoreCommand {
    /// Writes what the store holds as JSON Lines: of a running server, or with --config of a stopped one.
    ///
    /// All records are as they were at one revision. Signing keys stay sealed. From a running server it needs the role
    /// Admin.
    Export(ExportArguments),
    /// Lists and enables features whose records earlier versions cannot read.
    #[command(subcommand)]
    Feature(FeatureCommand),
    /// Writes the records of an export into the store of a stopped server: all of them, or none.
    ///
    /// The file is verified before anything is written. Tokens that were issued until now are refused afterwards, since
    /// they may have been revoked after the export. An import that was interrupted is finished by the same command again;
    /// meanwhile no server starts on the store.
    Import(ImportArguments),
    /// Reads every record of a stopped server's store, or of an export, and says what is wrong.
    ///
    /// Exit codes: 0 nothing is wrong, 1 something is, or it could not be looked at.
    Verify(VerifyArguments),
    /// Rewrites the files of a stopped server's store, without what was deleted and replaced.
    Compact(CompactArguments),
    /// Copies the store of a stopped server into another, empty one: of another directory, or of another kind.
    ///
    /// Nothing is lost, so that all tokens stay valid. A migration that was interrupted is finished by the same command
    /// again.
    Migrate(MigrateArguments),
    /// Lifts a revocation in the store of a stopped server, for when no admin is left who could lift it.
    ///
    /// Tokens that were issued before stay refused, but those that are bound to a certificate.
    Unrevoke(UnrevokeArguments),
}

pub(in crate::cli) async fn run(command: StoreCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        StoreCommand::Export(arguments) => export::run(arguments, format).await?,
        StoreCommand::Feature(command) => feature::run(command, format).await?,
        StoreCommand::Import(arguments) => import::run(arguments, format).await?,
        StoreCommand::Verify(arguments) => return verify::run(arguments, format).await,
        StoreCommand::Compact(arguments) => compact::run(&arguments, format)?,
        StoreCommand::Migrate(arguments) => migrate::run(arguments, format).await?,
        StoreCommand::Unrevoke(arguments) => unrevoke::run(arguments, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}
