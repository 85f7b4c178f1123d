//! `lanyard client`: the registrations. Every command but `convert-jwks` needs the role Admin.

pub(in crate::cli) mod apply;
mod convert_jwks;
mod delete;
mod get;
mod list;
mod sources;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::client::apply::ApplyArguments;
use crate::cli::client::convert_jwks::ConvertArguments;
use crate::cli::client::delete::DeleteArguments;
use crate::cli::client::get::GetArguments;
use crate::cli::client::list::ListArguments;
use crate::cli::error::CommandError;
use crate::cli::output::Format;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientCommand {
    /// Makes clients what YAML documents say they are: creates, updates, or leaves them as they are.
    Apply(ApplyArguments),
    /// Prints one client as a YAML document that `apply` takes.
    Get(GetArguments),
    /// Lists the clients.
    List(ListArguments),
    /// Deletes a client. Its tokens are refused from then on, also if it is registered again.
    Delete(DeleteArguments),
    /// Prints the JWK Set that registers a self-signed certificate, without a server.
    ConvertJwks(ConvertArguments),
}

pub(in crate::cli) async fn run(command: ClientCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        ClientCommand::Apply(arguments) => apply::run(arguments, format).await?,
        ClientCommand::Get(arguments) => get::run(arguments, format).await?,
        ClientCommand::List(arguments) => list::run(arguments, format).await?,
        ClientCommand::Delete(arguments) => delete::run(arguments, format).await?,
        ClientCommand::ConvertJwks(arguments) => convert_jwks::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
