//! The context of a command: what the connection's flags and variables leave open comes from it.

use std::path::Path;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::Args;
use clap::Command;
use clap::FromArgMatches;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use tonic::transport::Uri;

use crate::cli::context::file::ContextsFile;
use crate::cli::error::CommandError;
use crate::client::connection::server_url;

#[derive(Args, Debug)]
struct ContextFlag {
    /// Take what neither a flag nor a variable says from this context; see `lanyard context`. Left out: from the one in use.
    #[arg(long, value_name = "NAME", env = "LANYARD_CONTEXT")]
    context: Option<String>,
}

/// A context, ready for use.
#[derive(Debug)]
struct Values {
    name: String,
    server: Option<Uri>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The context that the command line selects. A context that cannot be had fails the connection, and not the parsing.
#[derive(Debug)]
pub(in crate::cli) struct SelectedContext(Result<Option<Box<Values>>, CommandError>);

impl SelectedContext {
    /// No context has a part in the connection.
    pub(in crate::cli) const NONE: Self = Self(Ok(None));

    /// The one of this name, or the one in use.
    pub(in crate::cli) fn read(name: Option<&str>) -> Result<Self, CommandError> {
        read(name).map(|values| Self(Ok(values)))
    }

    /// Why there is none, if one was selected.
    pub(in crate::cli) fn check(&self) -> Result<(), CommandError> {
        self.0.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn values(&self) -> Option<&Values> {
        self.0.as_ref().ok().and_then(Option::as_deref)
    }

    pub(in crate::cli) fn name(&self) -> Option<&str> {
        self.values().map(|values| values.name.as_str())
    }

    pub(in crate::cli) fn server(&self) -> Option<&Uri> {
        self.values()?.server.as_ref()
    }

    pub(in crate::cli) fn ca(&self) -> Option<&Path> {
        self.values()?.ca.as_deref()
    }

    pub(in crate::cli) fn cert(&self) -> Option<&Path> {
        self.values()?.cert.as_deref()
    }

    pub(in crate::cli) fn key(&self) -> Option<&Path> {
        self.values()?.key.as_deref()
    }

    /// The context's name, if it has a value for this flag.
    pub(in crate::cli) fn setting(&self, flag: &str) -> Option<&str> {
        let is_set = match flag {
            "--server" => self.server().is_some(),
            "--ca" => self.ca().is_some(),
            "--cert" => self.cert().is_some(),
            "--key" => self.key().is_some(),
            _ => false,
        };
        self.name().filter(|_| is_set)
    }
}

/// The one of this name, or the one in use.
fn read(name: Option<&str>) -> Result<Option<Box<Values>>, CommandError> {
    let file = ContextsFile::load()?;
    let found = match name {
        Some(name) => Some((name.to_owned(), file.named(name)?)),
        None => file.current()?,
    };
    let Some((name, context)) = found else { return Ok(None) };
    let path = |path: Option<String>| path.map(|path| file.resolved(&path));
    // Checked when it was read.
    let server = context.server.and_then(|server| server_url(&server).ok());
    let (ca, cert, key) = (path(context.ca), path(context.cert), path(context.key));
    Ok(Some(Box::new(Values { name, server, ca, cert, key })))
}

impl FromArgMatches for SelectedContext {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            |id: &str| matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        // A command that reads the store of a stopped server instead.
        if matches.try_contains_id("config").unwrap_or(false) {
            return Ok(Self::NONE);
        }
        let has_workload_api = given("workload_api");
        let named = ContextFlag::from_arg_matches(matches)?.context;
        let is_complete = given("server") && given("ca") && (has_workload_api || given("cert") && given("key"));
        if named.is_none() && is_complete {
            return Ok(Self::NONE);
        }
        let selected = match read(named.as_deref()) {
            Ok(selected) => Self(Ok(selected)),
            Err(error) => return Ok(Self(Err(error))),
        };
        let needed = [("--ca", "ca"), ("--cert", "cert"), ("--key", "key")];
        let missing = needed
            .into_iter()
            .filter(|(flag, id)| !has_workload_api && !given(id) && selected.setting(flag).is_none())
            .map(|(flag, _)| flag);
        let missing: Vec<&str> = missing.collect();
        match (missing.is_empty(), selected.name()) {
            (true, _) => Ok(selected),
            (false, Some(name)) => {
                let flags = missing.join(", ");
                let next = format!("give them, or add them with `lanyard context set {name}`");
                Ok(Self(Err(CommandError::new(format!("the context '{name}' leaves open: {flags}"), next))))
            }
            (false, None) => {
                let mut error = clap::Error::new(ErrorKind::MissingRequiredArgument);
                let missing = missing.iter().map(|flag| format!("{flag} <FILE>")).collect();
                error.insert(ContextKind::InvalidArg, ContextValue::Strings(missing));
                Err(error)
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SelectedContext {
    fn augment_args(command: Command) -> Command {
        ContextFlag::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ContextFlag::augment_args_for_update(command)
    }
}
