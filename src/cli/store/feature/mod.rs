//! `lanyard store feature`.

mod enable;
mod list;
mod listed;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::output::Format;
use crate::cli::store::feature::enable::EnableArguments;
use crate::cli::store::feature::list::ListArguments;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FeatureCommand {
    /// Lists the features whose records earlier versions cannot read, and which of them are enabled in the store.
    List(ListArguments),
    /// Enables a feature in the store, for good: from then on records may be written that earlier versions cannot read.
    ///
    /// It is refused while a replica runs that cannot read them. It needs the role Admin.
    Enable(EnableArguments),
}

pub(super) async fn run(command: FeatureCommand, format: Format) -> Result<(), CommandError> {
    match command {
        FeatureCommand::List(arguments) => list::run(arguments, format).await,
        FeatureCommand::Enable(arguments) => enable::run(arguments, format).await,
    }
}
