//! The `lanyard` command.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    lanyard::cli::run(lanyard::cli::Arguments::parse())
}
