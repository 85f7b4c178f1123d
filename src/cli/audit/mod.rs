//! `lanyard audit`.

mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::audit::verify::VerifyArguments;
use crate::cli::error::CommandError;
use crate::cli::output::Format;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// Checks whether files of the audit trail are as the server wrote them, without a server.
    ///
    /// Exit codes: 0 they are, 1 they are not, 2 they could not be read.
    Verify(VerifyArguments),
}

pub(in crate::cli) fn run(command: AuditCommand, format: Format) -> Result<ExitCode, CommandError> {
    let AuditCommand::Verify(arguments) = command;
    verify::run(&arguments, format)
}
