//! `lanyard context`: names for servers, and for the certificate to connect with.

mod file;
pub(in crate::cli) mod selected;

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;
use tonic::transport::Uri;

use crate::cli::context::file::Context;
use crate::cli::context::file::ContextsFile;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::table::table;
use crate::client::connection::server_url;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ContextCommand {
    /// Lists the contexts. The one in use is marked.
    List,
    /// Makes a context the one that commands use where nothing else is said.
    Use(NameArguments),
    /// Makes a context, or changes what is given of it.
    Set(SetArguments),
    /// Removes a context. The files that it names stay.
    Delete(NameArguments),
    /// Prints a context; without a name, the one in use.
    Show(ShowArguments),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct NameArguments {
    /// The context's name.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArguments {
    /// The context's name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SetArguments {
    /// The context's name: letters, digits, `-`, `_` and `.`.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// The server's mTLS listener.
    #[arg(long, value_name = "URL", value_parser = server_url)]
    server: Option<Uri>,
    /// PEM file with the CA certificates that are trusted for the server.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with your certificate, followed by its intermediates.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the private key of your certificate. The context names it, and never holds it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(in crate::cli) fn run(command: ContextCommand, format: Format) -> Result<(), CommandError> {
    let mut file = ContextsFile::load()?;
    match command {
        ContextCommand::List => list(&file, format),
        ContextCommand::Show(arguments) => show(&file, arguments.name, format),
        ContextCommand::Use(NameArguments { name }) => {
            file.named(&name)?;
            file.content.current = Some(name.clone());
            file.save()?;
            done(&name, "in use", format)
        }
        ContextCommand::Set(arguments) => set(file, arguments, format),
        ContextCommand::Delete(NameArguments { name }) => {
            file.named(&name)?;
            file.content.contexts.remove(&name);
            let was_current = file.content.current.take_if(|current| *current == name).is_some();
            file.save()?;
            done(&name, "deleted", format)?;
            if was_current {
                output::note("note: it was in use; `lanyard context use` chooses another");
            }
            Ok(())
        }
    }
}

fn set(mut file: ContextsFile, arguments: SetArguments, format: Format) -> Result<(), CommandError> {
    let SetArguments { name, server, ca, cert, key } = arguments;
    let context = file.content.contexts.entry(name.clone()).or_default();
    if let Some(server) = server {
        context.server = Some(server.to_string().trim_end_matches('/').to_owned());
    }
    for (field, path) in [(&mut context.ca, ca), (&mut context.cert, cert), (&mut context.key, key)] {
        if let Some(path) = path {
            *field = Some(absolute(&path)?);
        }
    }
    file.save()?;
    done(&name, "set", format)?;
    if file.content.current.is_none() {
        output::note(&format!("note: `lanyard context use {name}` makes it the one that commands use"));
    }
    Ok(())
}

fn done(name: &str, result: &str, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => output::print_json(&json!({ "context": name, "result": result })),
        Format::Text => output::print(&format!("{name} {result}")),
    }
}

fn list(file: &ContextsFile, format: Format) -> Result<(), CommandError> {
    let current = |name: &str| file.content.current.as_deref() == Some(name);
    let contexts = &file.content.contexts;
    match format {
        Format::Json => {
            let all = contexts.iter().map(|(name, context)| document(name, context, current(name)));
            output::print_json(&all.collect::<Vec<_>>())
        }
        Format::Text => {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let rows = contexts.iter().map(|(name, context)| {
                let mark = if current(name) { "*" } else { "" };
                [mark.to_owned(), name.clone(), or_dash(&context.server), or_dash(&context.cert)]
            });
            output::print(&table(["", "NAME", "SERVER", "CERT"], rows))
        }
    }
}

fn show(file: &ContextsFile, name: Option<String>, format: Format) -> Result<(), CommandError> {
    let (name, context) = match name {
        Some(name) => (name.clone(), file.named(&name)?),
        None => file.current()?.ok_or_else(|| {
            CommandError::new(
                "no context is in use",
                "choose one of `lanyard context list` with `lanyard context use NAME`",
            )
        })?,
    };
    let is_current = file.content.current.as_ref() == Some(&name);
    match format {
        Format::Json => output::print_json(&document(&name, &context, is_current)),
        Format::Text => {
            let fields =
                [("server", &context.server), ("ca", &context.ca), ("cert", &context.cert), ("key", &context.key)];
            let mut lines = vec![format!("{:<8} {name}{}", "context", if is_current { " (in use)" } else { "" })];
            let given = fields.into_iter().filter_map(|(field, value)| Some((field, value.as_ref()?)));
            lines.extend(given.map(|(field, value)| format!("{field:<8} {value}")));
            output::print(&lines.join("\n"))
        }
    }
}

fn document(name: &str, context: &Context, in_use: bool) -> Value {
    let Context { server, ca, cert, key } = context;
    json!({ "context": name, "in_use": in_use, "server": server, "ca": ca, "cert": cert, "key": key })
}

/// The path as the context keeps it, so that it means the same in every folder.
fn absolute(path: &Path) -> Result<String, CommandError> {
    let whole = std::path::absolute(path).ok().and_then(|path| path.to_str().map(ToOwned::to_owned));
    whole.ok_or_else(|| {
        CommandError::new(format!("{} cannot be kept in a context", path.display()), "name a file by a path in UTF-8")
    })
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    let is_name = !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain);
    is_name.then(|| text.to_owned()).ok_or("must be letters, digits, '-', '_' and '.'")
}
