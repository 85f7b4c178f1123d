//! Runs a command to its end.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::cli::error::CommandError;

/// A command that succeeds or fails.
pub(in crate::cli) async fn done(
    command: impl Future<Output = Result<(), CommandError>>,
) -> Result<ExitCode, CommandError> {
    command.await.map(|()| ExitCode::SUCCESS)
}

/// Runs a command on this thread. A client has one connection at a time, and a server starts threads of its own.
pub(in crate::cli) fn block_on(
    command: impl Future<Output = Result<ExitCode, CommandError>>,
) -> Result<ExitCode, CommandError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| {
        CommandError::new(format!("cannot start: {error}"), "see whether this process may open more files")
    })?;
    let result = runtime.block_on(command);
    // Blocking calls that are still running, such as a name lookup, do not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}
