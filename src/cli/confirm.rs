//! The question before a change that many depend on.

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;

use tokio::task::spawn_blocking;

use crate::cli::error::CommandError;
use crate::cli::output;

/// Whether somebody can answer: stdin and stderr are a terminal.
pub(in crate::cli) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Shows what a change concerns and asks for it. Only `y` and `yes` are a yes.
pub(in crate::cli) async fn ask(impact: &str) -> Result<(), CommandError> {
    output::note(impact);
    let answer = spawn_blocking(|| {
        let mut stderr = io::stderr().lock();
        // Ignore errors writing to stderr.
        let _written = stderr.write_all(b"continue? [y/N] ").and_then(|()| stderr.flush()).is_ok();
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(CommandError::new("not confirmed: nothing was changed", "answer with y, or add --yes"))
}

/// Lets a change that many depend on pass where somebody confirms it. Without a terminal that takes `--yes`.
pub(in crate::cli) async fn require(impact: &str) -> Result<(), CommandError> {
    if is_interactive() {
        return ask(impact).await;
    }
    Err(CommandError::new(format!("{impact}: nothing was changed"), "add --yes if it is meant"))
}
