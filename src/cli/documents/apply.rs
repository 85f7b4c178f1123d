//! `lanyard client apply` and `lanyard resource apply`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::apply::Applied;
use crate::apply::Document as _;
use crate::apply::Mode;
use crate::apply::Outcome;
use crate::apply::apply;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::sources;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;

#[derive(Args, Debug)]
pub(in crate::cli) struct ApplyArguments {
    /// A YAML file of one or more documents, a directory of *.yaml and *.yml files, or - for stdin.
    ///
    /// Each document describes the whole record: a field that is left out gets its default, also if it was set before.
    /// All documents are checked, by the server too, before the first is written.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    filename: PathBuf,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let documents = sources::read::<K>(&arguments.filename)?;
    let now = SystemClock.now();
    for document in &documents {
        for warning in K::warnings(document, now) {
            output::note(&format!("warning: {}: {warning}", document.name()));
        }
    }
    let mut registry = documents::open(&arguments.connection).await?;
    // The first round only validates, so that a document that the server refuses is found before anything is written.
    let checked = apply(&mut registry, &documents, Mode::Check).await;
    if arguments.dry_run {
        print::<K>(&checked, Mode::Check, format)?;
        return refusal::<K>(&checked).map_or(Ok(()), Err);
    }
    if let Some(refused) = refusal::<K>(&checked) {
        return Err(refused.of("nothing was written"));
    }
    let written = apply(&mut registry, &documents, Mode::Write).await;
    print::<K>(&written, Mode::Write, format)?;
    refusal::<K>(&written).map_or(Ok(()), Err)
}

/// Applies a file without printing the outcomes.
pub(in crate::cli) async fn quietly<K: Registered>(
    filename: &Path,
    connection: &ConnectionArguments,
) -> Result<(), CommandError> {
    let documents = sources::read::<K>(filename)?;
    let mut registry = documents::open(connection).await?;
    let written = apply(&mut registry, &documents, Mode::Write).await;
    refusal::<K>(&written).map_or(Ok(()), Err)
}

/// Prints the outcome of each document, also if a later one was refused.
fn print<K: Registered>(applied: &[Applied], mode: Mode, format: Format) -> Result<(), CommandError> {
    let done = applied.iter().filter_map(|Applied { name, outcome }| Some((name, result(outcome)?)));
    match format {
        Format::Text => {
            for (name, result) in done {
                let would = if mode == Mode::Check && result != UNCHANGED { "would be " } else { "" };
                output::print(&format!("{name} {would}{result}"))?;
            }
            Ok(())
        }
        Format::Json => {
            let dry_run = mode == Mode::Check;
            let lines = done.map(|(name, result)| json!({ (K::NAME): name, "result": result, "dry_run": dry_run }));
            output::print_json(&lines.collect::<Vec<_>>())
        }
    }
}

/// The error with which the last document was refused, if it was.
fn refusal<K: Registered>(applied: &[Applied]) -> Option<CommandError> {
    applied.iter().find_map(|Applied { name, outcome }| match outcome {
        Outcome::Refused(status) => Some(status::explain(status, K::NEEDS).of(name)),
        Outcome::Created | Outcome::Updated | Outcome::Unchanged => None,
    })
}

const UNCHANGED: &str = "unchanged";

fn result(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Created => Some("created"),
        Outcome::Updated => Some("updated"),
        Outcome::Unchanged => Some(UNCHANGED),
        Outcome::Refused(_) => None,
    }
}
