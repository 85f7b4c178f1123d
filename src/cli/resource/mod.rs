//! `lanyard resource`: manages protected resources. Commands that change something need the role Admin, or a grant.

mod dependents;
mod documents;
mod enforce;
mod forget;
mod report;
mod simulate;
pub(in crate::cli) mod yaml;

use std::process::ExitCode;

use clap::Subcommand;

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
use crate::cli::resource::enforce::EnforceArguments;
use crate::cli::resource::forget::ForgetArguments;
use crate::cli::resource::report::ReportArguments;
use crate::cli::resource::simulate::SimulateArguments;
use crate::cli::resource::yaml::ResourceYaml;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ResourceCommand {
    /// Creates or updates protected resources from YAML documents. Resources that already match are unchanged.
    Apply {
        #[command(flatten)]
        arguments: ApplyArguments,
        /// Let `mode: report` replace `mode: enforce`: what is denied now would pass.
        #[arg(long)]
        allow_report: bool,
    },
    /// Prints one protected resource as a YAML document that `apply` takes.
    #[command(mut_arg("name", |name| name.value_name("AUDIENCE").help("The resource's audience, a URI")))]
    Get(GetArguments),
    /// Lists the protected resources.
    List(ListArguments),
    /// Deletes a protected resource. Requests to it and tokens for it are denied from then on, until its audience is
    /// registered again or forgotten.
    #[command(mut_arg("name", |name| name.value_name("AUDIENCE").help("The resource's audience, a URI")))]
    Delete(DeleteArguments),
    /// Shows what was asked of a protected resource in the last day: who would be denied in the mode enforce, how often, since when,
    /// and what to do about it. It is what the server that answers has counted since its start.
    Report(ReportArguments),
    /// Shows what would change if protected resources were as in YAML documents: decides the requests that the server has kept once
    /// more. Nothing is written.
    Simulate(SimulateArguments),
    /// Sets the mode enforce of a protected resource, unless requests of registered callers would be denied that pass now.
    Enforce(EnforceArguments),
    /// Forgets a deleted protected resource, so that its audience counts as never registered: `ValidateBinding` uses the
    /// defaults, which accept every trust domain and a thumbprint, and its place may be another resource's.
    Forget(ForgetArguments),
}

pub(in crate::cli) async fn run(command: ResourceCommand, format: RecordFormat) -> Result<ExitCode, CommandError> {
    match command {
        ResourceCommand::Apply { arguments, allow_report } => {
            apply::run::<ResourceYaml>(arguments, allow_report, format.plain()?).await?;
        }
        ResourceCommand::Get(arguments) => get::run::<ResourceYaml>(arguments, format).await?,
        ResourceCommand::List(arguments) if arguments.is_watch() => {
            watch::run::<ResourceYaml>(&arguments, format).await?;
        }
        ResourceCommand::List(arguments) => list::run::<ResourceYaml>(&arguments, format).await?,
        ResourceCommand::Delete(arguments) => delete::run::<ResourceYaml>(arguments, format.plain()?).await?,
        ResourceCommand::Report(arguments) => report::run(arguments, format.plain()?).await?,
        ResourceCommand::Simulate(arguments) => simulate::run(arguments, format.plain()?).await?,
        ResourceCommand::Enforce(arguments) => enforce::run(arguments, format.plain()?).await?,
        ResourceCommand::Forget(arguments) => forget::run(arguments, format.plain()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}
