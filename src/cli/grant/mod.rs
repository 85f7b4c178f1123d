//! `lanyard grant`: manages what teams' admins may register. Changes need the role Admin.

mod documents;

use std::process::ExitCode;

use clap::Subcommand;

use crate::authority::access::GrantMetadata;
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
pub(in crate::cli) enum GrantCommand {
    /// Creates or updates grants from YAML documents. Grants that already match are unchanged.
    Apply(ApplyArguments),
    /// Prints one grant as a YAML document that `apply` takes. A team's admin may read its own.
    #[command(mut_arg("name", |name| name.value_name("NAME").help("The grant's name")))]
    Get(GetArguments),
    /// Lists the grants; for a team's admin its own.
    List(ListArguments),
    /// Deletes a grant. What was registered within it stays registered.
    #[command(mut_arg("name", |name| name.value_name("NAME").help("The grant's name")))]
    Delete(DeleteArguments),
}

pub(in crate::cli) async fn run(command: GrantCommand, format: RecordFormat) -> Result<ExitCode, CommandError> {
    match command {
        GrantCommand::Apply(arguments) => apply::run::<GrantMetadata>(arguments, false, format.plain()?).await?,
        GrantCommand::Get(arguments) => get::run::<GrantMetadata>(arguments, format).await?,
        GrantCommand::List(arguments) if arguments.is_watch() => {
            watch::run::<GrantMetadata>(&arguments, format).await?;
        }
        GrantCommand::List(arguments) => list::run::<GrantMetadata>(&arguments, format).await?,
        GrantCommand::Delete(arguments) => delete::run::<GrantMetadata>(arguments, format.plain()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}
