//! `lanyard completion` and `lanyard man`.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use clap::Command;
use clap_complete::Shell;

use crate::cli::error::CommandError;
use crate::cli::output;

#[derive(Args, Debug)]
pub(in crate::cli) struct CompletionArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ManArguments {
    /// The directory, such as ~/.local/share/man/man1. It is made if it is missing.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Prints the script by which a shell completes commands and flags.
pub(in crate::cli) fn run(arguments: &CompletionArguments, mut program: Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "lanyard", &mut script);
    // Not escaped, as answers of a server are: it is a program.
    io::stdout()
        .lock()
        .write_all(&script)
        .map_err(|error| CommandError::new(format!("cannot write to stdout: {error}"), "see where the output is sent"))
}

/// Writes a manual page for each command.
pub(in crate::cli) fn write_manual(arguments: &ManArguments, program: Command) -> Result<(), CommandError> {
    let dir = &arguments.dir;
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(program, dir));
    written.map_err(|error| {
        let next = "name a directory that you may write to with --dir";
        CommandError::new(format!("cannot write to {}: {error}", dir.display()), next)
    })?;
    output::note(&format!("the manual pages are in {}", dir.display()));
    Ok(())
}
