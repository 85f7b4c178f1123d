//! `lanyard client`: manages client registrations. Every command but `convert-jwks` needs the role Admin.

mod convert_jwks;
mod documents;
mod warning;
pub(in crate::cli) mod yaml;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::client::convert_jwks::ConvertArguments;
pub(in crate::cli) use crate::cli::client::warning::ClientWarning;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::apply;
use crate::cli::documents::apply::ApplyArguments;
use crate::cli::documents::delete;
use crate::cli::documents::delete::DeleteArguments;
use crate::cli::documents::get;
use crate::cli::documents::get::GetArguments;
use crate::cli::documents::list;
use crate::cli::documents::list::ListArguments;
use crate::cli::documents::watch;
use crate::cli::error::CommandError;
use crate::cli::output::RecordFormat;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientCommand {
    /// Creates or updates clients from YAML documents. Clients that already match are unchanged.
    Apply(ApplyArguments),
    /// Prints one client as a YAML document that `apply` takes.
    #[command(mut_arg("name", |name| name.value_name("ID").help("The client's `client_id`")))]
    Get(GetArguments),
    /// Lists the clients.
    List(ListArguments),
    /// Deletes a client. Its tokens are refused from then on, also if it is registered again.
    #[command(mut_arg("name", |name| name.value_name("ID").help("The client's `client_id`")))]
    Delete(DeleteArguments),
    /// Prints the JWK Set that registers a self-signed certificate, without a server.
    ConvertJwks(ConvertArguments),
}

pub(in crate::cli) async fn run(command: ClientCommand, format: RecordFormat) -> Result<ExitCode, CommandError> {
    match command {
        ClientCommand::Apply(arguments) => apply::run::<ClientYaml>(arguments, false, format.plain()?).await?,
        ClientCommand::Get(arguments) => get::run::<ClientYaml>(arguments, format).await?,
        ClientCommand::List(arguments) if arguments.is_watch() => watch::run::<ClientYaml>(&arguments, format).await?,
        ClientCommand::List(arguments) => list::run::<ClientYaml>(&arguments, format).await?,
        ClientCommand::Delete(arguments) => delete::run::<ClientYaml>(arguments, format.plain()?).await?,
        ClientCommand::ConvertJwks(arguments) => convert_jwks::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
