//! `lanyard token`.

pub(in crate::cli) mod get;
pub(in crate::cli) mod inspect;

use clap::Subcommand;

use crate::cli::token::get::GetArguments;
use crate::cli::token::inspect::InspectArguments;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Gets an access token bound to your certificate, and prints it alone on stdout.
    Get(GetArguments),
    /// Shows what is in a token, without verifying it and without a server.
    Inspect(InspectArguments),
}
