//! `lanyard explain`, and `lanyard exchange explain`.

mod asked;
pub(in crate::cli) mod exchange;
mod identity;
mod outcome;
mod request;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::CommandError;
use crate::cli::explain::identity::IdentityArguments;
use crate::cli::explain::request::RequestArguments;
use crate::cli::output::Format;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExplainCommand {
    /// Says whether a request would be allowed, and why, without making one: by the token that it has, or the one that its
    /// sender would get now.
    ///
    /// Exit codes: 0 allowed, or let through in the mode report, 3 denied, 1 no answer, 2 the command line cannot be read.
    Request(Box<RequestArguments>),
    /// Says what an identity is to the server: whether its certificate is accepted, which registration covers it, why the
    /// others do not, and what it would get.
    Identity(Box<IdentityArguments>),
}

pub(in crate::cli) async fn run(command: ExplainCommand, format: Format) -> Result<ExitCode, CommandError> {
    match command {
        ExplainCommand::Request(arguments) => request::run(*arguments, format).await,
        ExplainCommand::Identity(arguments) => identity::run(*arguments, format).await,
    }
}
