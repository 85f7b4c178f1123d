//! `lanyard client apply` and `lanyard resource apply`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::apply::Applied;
use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::Outcome;
use crate::apply::apply;
use crate::apply::undo;
use crate::apply::write;
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
    /// All documents are checked, by the server too, before the first is written. If one is refused nevertheless, as two
    /// that contradict each other are, what was written before it is undone.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(in crate::cli::documents) filename: PathBuf,
    /// Only print what would be done.
    #[arg(long)]
    pub(in crate::cli::documents) dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli::documents) connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let documents = sources::read::<K>(&arguments.filename)?;
    let mut registry = documents::open(&arguments.connection).await?;
    // The first round only validates, so that a document that the server refuses is found before anything is written.
    let checked = apply(&mut registry, &documents, Mode::Check).await;
    if arguments.dry_run {
        print::<K>(&checked, Mode::Check, format)?;
        return refusal::<K>(&checked).map_or(Ok(()), Err);
    }
    if let Some(refused) = refusal::<K>(&checked) {
        return Err(refused.of(NOTHING_WRITTEN));
    }
    let mut journal = Journal::default();
    let written = write(&mut registry, &documents, &mut journal).await;
    if let Some(refused) = refusal::<K>(&written) {
        return Err(refused.of(&undone(&undo(&mut registry, journal).await)));
    }
    print::<K>(&written, Mode::Write, format)
}

pub(in crate::cli::documents) const NOTHING_WRITTEN: &str = "nothing was written";

/// Says what became of the records that were written before one was refused; `kept` are those that could not be undone.
pub(in crate::cli::documents) fn undone(kept: &[String]) -> String {
    match kept {
        [] => "what was written is undone".to_owned(),
        [..] => format!("what was written is undone, except {}", kept.join(", ")),
    }
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
    print_lines(lines::<K>(applied), mode, format)
}

/// The name of a record with the field that holds it, and its outcome.
pub(in crate::cli::documents) type Line = (&'static str, String, &'static str);

/// The documents that were not refused.
pub(in crate::cli::documents) fn lines<K: Registered>(applied: &[Applied]) -> Vec<Line> {
    let line = |Applied { name, outcome }: &Applied| Some((K::NAME, name.clone(), result(outcome)?));
    applied.iter().filter_map(line).collect()
}

pub(in crate::cli::documents) fn print_lines(lines: Vec<Line>, mode: Mode, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Text => {
            for (_, name, result) in lines {
                let would = if mode == Mode::Check && result != UNCHANGED { "would be " } else { "" };
                output::print(&format!("{name} {would}{result}"))?;
            }
            Ok(())
        }
        Format::Json => {
            let dry_run = mode == Mode::Check;
            let object = |(field, name, result): Line| json!({ (field): name, "result": result, "dry_run": dry_run });
            output::print_json(&lines.into_iter().map(object).collect::<Vec<_>>())
        }
    }
}

/// The error with which the last document was refused, if it was.
pub(in crate::cli::documents) fn refusal<K: Registered>(applied: &[Applied]) -> Option<CommandError> {
    applied.iter().find_map(|Applied { name, outcome }| match outcome {
        Outcome::Refused(refused) => {
            let error = status::explain(refused, K::NEEDS).of(name);
            Some(if is_retryable(refused) { error } else { error.not_retryable() })
        }
        Outcome::Created | Outcome::Updated | Outcome::Unchanged => None,
    })
}

/// Whether the server can accept the same document later without a change of anything else.
fn is_retryable(refused: &Status) -> bool {
    match refused.code() {
        Code::InvalidArgument | Code::OutOfRange => false,
        // Only another writer makes a record exist that was not there when it was read.
        Code::AlreadyExists => {
            let reason = refused.get_details_error_info().map(|info| info.reason);
            matches!(reason.as_deref(), Some("CLIENT_EXISTS" | "RESOURCE_EXISTS"))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => true,
    }
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
