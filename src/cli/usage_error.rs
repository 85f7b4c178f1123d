//! Errors of the command line itself, with the environment variables that have a part in them.

use std::ffi::OsString;

use clap::Arg;
use clap::Command;
use clap::builder::StyledStr;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

/// The arguments of the connection that have no default.
const CONNECTION: [&str; 3] = ["--ca <FILE>", "--cert <FILE>", "--key <FILE>"];

/// Adds which variables set what is missing, or which one the value came from.
pub(in crate::cli) fn with_variables(mut error: clap::Error, command: &Command, line: &[OsString]) -> clap::Error {
    let arguments: Vec<&str> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(one)) => vec![one],
        Some(ContextValue::Strings(several)) => several.iter().map(String::as_str).collect(),
        Some(_) | None => return error,
    };
    let tip = if error.kind() == ErrorKind::MissingRequiredArgument {
        let variables: Vec<String> =
            arguments.iter().filter_map(|argument| variable(command, argument, |_| true)).collect();
        let them = if variables.len() == 1 { "it" } else { "them" };
        (!variables.is_empty()).then(|| {
            let context = arguments.iter().all(|argument| CONNECTION.contains(argument));
            let context = if context { "\n  tip: so may a context: see `lanyard context --help`" } else { "" };
            format!("the environment may set {them}: {}{context}", variables.join(", "))
        })
    } else if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        let is_unwritten = |flag: &str| line.iter().all(|word| !word.to_string_lossy().starts_with(flag));
        let variable = arguments.first().and_then(|argument| variable(command, argument, is_unwritten));
        variable.map(|variable| format!("the value is that of {variable}"))
    } else {
        None
    };
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// The variable of the argument that the parser describes like this, such as `--ca <FILE>`, in the command or one below
/// it.
fn variable(command: &Command, described: &str, counts: impl Fn(&str) -> bool + Copy) -> Option<String> {
    let is_it = |argument: &&Arg| {
        argument.to_string() == described && argument.get_long().is_some_and(|name| counts(&format!("--{name}")))
    };
    let here = command.get_arguments().filter(is_it).find_map(Arg::get_env);
    here.map(|variable| variable.to_string_lossy().into_owned())
        .or_else(|| command.get_subcommands().find_map(|below| variable(below, described, counts)))
}
