//! `lanyard client apply` and `lanyard resource apply`.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::apply::Applied;
use crate::apply::Conditions;
use crate::apply::Document;
use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::Outcome;
use crate::apply::Registry;
use crate::apply::apply;
use crate::apply::check;
use crate::apply::undo;
use crate::apply::write;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::commit;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Collected;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::progress;
use crate::cli::status;
use crate::cli::waiting;
use crate::client::connection::Channel;

#[derive(Args, Debug)]
pub(in crate::cli) struct ApplyArguments {
    /// A YAML file of one or more documents, a directory of *.yaml and *.yml files, or - for stdin. It may be given several
    /// times.
    ///
    /// Each document describes the whole record: a field that is left out gets its default, also if it was set before.
    /// All documents are checked, by the server too, before the first is written. If one is refused nevertheless, as two
    /// that contradict each other are, what was written before it is undone.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(in crate::cli::documents) filenames: Vec<PathBuf>,
    /// Refuse all documents if there is a warning about one.
    #[arg(long)]
    pub(in crate::cli::documents) strict: bool,
    /// Why: it is kept with each change. Left out, it is the git commit of the files, where they have one.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What applies these documents, such as the repository that they are in: it becomes `managed_by` of each. Documents that say
    /// nothing of it keep what is registered.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli::documents) managed_by: Option<String>,
    /// Only print what would be done.
    #[arg(long)]
    pub(in crate::cli::documents) dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli::documents) connection: ConnectionArguments,
}

impl ApplyArguments {
    /// Has what applies the documents manage them.
    pub(in crate::cli::documents) fn manage<K: Registered>(&self, mut collected: Collected<K>) -> Collected<K> {
        if let Some(name) = &self.managed_by {
            for document in &mut collected.documents {
                *K::managed_by(document) = Some(name.clone());
            }
        }
        collected
    }

    /// Why it is applied.
    pub(in crate::cli::documents) fn reason(&self) -> String {
        self.reason.clone().or_else(|| commit::of(&self.filenames)).unwrap_or_default()
    }
}

/// `allow_report` is whether `mode: report` may replace `mode: enforce`.
pub(in crate::cli) async fn run<K: Registered>(
    arguments: ApplyArguments,
    allow_report: bool,
    format: Format,
) -> Result<(), CommandError> {
    let Collected { documents, mut conditions, .. } = arguments.manage(sources::read::<K>(&arguments.filenames)?);
    conditions.allow_report = allow_report;
    let mut registry = documents::open(&arguments.connection).await?;
    // The first round only validates, so that a document that the server refuses is found before anything is written.
    let checked = checked(&mut registry, &documents, &conditions).await;
    let warnings = warnings::<K>(&documents, &checked);
    if arguments.dry_run {
        print::<K>(&checked, Mode::Check, format)?;
        outcome::<K>(&checked, &documents)?;
        refused_for(&warnings, arguments.strict)?;
        print_warnings(&warnings);
        return Ok(());
    }
    if let Some(refused) = refusal::<K>(&checked) {
        return Err(refused.of(NOTHING_WRITTEN));
    }
    refused_for(&warnings, arguments.strict)?;
    let mut journal = Journal::default();
    let written = written(&mut registry, &documents, (&arguments.reason(), &conditions), &mut journal).await;
    if let Some(refused) = refusal::<K>(&written) {
        return Err(refused.of(&undone(&undo(&mut registry, journal).await)));
    }
    print::<K>(&written, Mode::Write, format)?;
    outcome::<K>(&written, &documents)?;
    print_warnings(&warnings);
    let is_applied = |name: &str| written.iter().any(|applied| applied.name == name);
    for note in K::contradictions(&mut registry, is_applied).await? {
        output::note(&note);
    }
    waiting(&proposed(&written))
}

/// Has the server validate documents, and shows how far it is.
pub(in crate::cli::documents) async fn checked<D: Document>(
    registry: &mut Registry<Channel>,
    documents: &[D],
    conditions: &Conditions,
) -> Vec<Applied> {
    let conditions = Conditions { done: Arc::default(), ..conditions.clone() };
    progress::shown(("checked", documents.len()), &conditions.done, check(registry, documents, &conditions)).await
}

/// Writes documents, and shows how far it is.
pub(in crate::cli::documents) async fn written<D: Document>(
    registry: &mut Registry<Channel>,
    documents: &[D],
    (reason, conditions): (&str, &Conditions),
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    let conditions = Conditions { done: Arc::default(), ..conditions.clone() };
    let writing = write(registry, documents, (reason, &conditions), journal);
    progress::shown(("written", documents.len()), &conditions.done, writing).await
}

/// The warnings about documents that were checked, the server's after those that need none.
pub(in crate::cli::documents) fn warnings<K: Registered>(
    documents: &[K::Metadata],
    checked: &[Applied],
) -> Vec<String> {
    let (now, mut warnings) = (SystemClock.now(), Vec::new());
    for (document, applied) in documents.iter().zip(checked) {
        let server = applied.warnings.iter().cloned();
        let all = K::warnings(document, now).into_iter().chain(server).chain(taken_over(applied));
        warnings.extend(all.map(|warning| format!("{}: {warning}", document.name())));
    }
    warnings
}

/// Says of whom a record is taken over.
fn taken_over(applied: &Applied) -> Option<String> {
    let change = applied.differences.iter().find(|one| one.field == "managed_by")?;
    let before = change.from.as_ref()?.as_str()?;
    Some(format!("it has been managed by '{before}', whose documents may register it again"))
}

pub(in crate::cli::documents) fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
}

/// Prints the warnings, and refuses the documents for them under `--strict`.
pub(in crate::cli::documents) fn refused_for(warnings: &[String], strict: bool) -> Result<(), CommandError> {
    if !strict || warnings.is_empty() {
        return Ok(());
    }
    print_warnings(warnings);
    let next = "correct what the warnings name, or leave out --strict";
    Err(CommandError::new("nothing was written: there are warnings", next).not_retryable())
}

/// The error with which a document was refused. If all are accepted, prints what there is to say of those that are new.
fn outcome<K: Registered>(applied: &[Applied], documents: &[K::Metadata]) -> Result<(), CommandError> {
    if let Some(refused) = refusal::<K>(applied) {
        return Err(refused);
    }
    for (document, Applied { name, outcome, .. }) in documents.iter().zip(applied) {
        if let (Outcome::Created, Some(note)) = (outcome, K::created_note(document)) {
            output::note(&format!("{name}: {note}"));
        }
    }
    Ok(())
}

pub(in crate::cli::documents) const NOTHING_WRITTEN: &str = "nothing was written";

/// Says what became of the records that were written before one was refused; `kept` are those that could not be undone.
pub(in crate::cli::documents) fn undone(kept: &[String]) -> String {
    match kept {
        [] => "what was written is undone".to_owned(),
        [..] => format!("what was written is undone, except {}", kept.join(", ")),
    }
}

/// Registers the documents of a file that are not registered yet, without printing the outcomes.
pub(in crate::cli) async fn missing<K: Registered>(
    filename: &Path,
    connection: &ConnectionArguments,
) -> Result<(), CommandError> {
    let mut registry = documents::open(connection).await?;
    let mut missing = Vec::new();
    for document in sources::read::<K>(&[filename.to_owned()])?.documents {
        match K::Metadata::read(&mut registry, document.name()).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => missing.push(document),
            Err(status) => return Err(status::explain(&status, K::NEEDS).of(document.name())),
        }
    }
    let written = apply(&mut registry, &missing, Mode::Write).await;
    refusal::<K>(&written).map_or(Ok(()), Err)
}

/// Prints the outcome of each document, also if a later one was refused.
pub(in crate::cli::documents) fn print<K: Registered>(
    applied: &[Applied],
    mode: Mode,
    format: Format,
) -> Result<(), CommandError> {
    print_lines(lines::<K>(applied), mode, format)
}

/// The result for one record, as it is printed.
pub(in crate::cli::documents) struct Line {
    /// The field that holds the record's name.
    field: &'static str,
    name: String,
    result: &'static str,
    /// The identifier of what waits for a second admin.
    proposal: Option<String>,
    /// How long tokens that are denied from now on would have lived.
    denied: Option<String>,
}

impl Line {
    /// Whether it is about the record of this name.
    pub(in crate::cli::documents) fn is_of(&self, name: &str) -> bool {
        self.name == name
    }
}

/// A record that is deleted because no document registers it.
pub(in crate::cli::documents) fn deleted(field: &'static str, name: &str) -> Line {
    Line { field, name: name.to_owned(), result: DELETED, proposal: None, denied: None }
}

/// The documents that were not refused.
pub(in crate::cli::documents) fn lines<K: Registered>(applied: &[Applied]) -> Vec<Line> {
    let line = |Applied { name, outcome, denied_tokens, .. }: &Applied| {
        let denied = denied_tokens.map(|lifetime| humantime::format_duration(lifetime).to_string());
        let proposal = if let Outcome::Proposed(id) = outcome { Some(id.clone()) } else { None };
        Some(Line { field: K::NAME, name: name.clone(), result: result(outcome)?, proposal, denied })
    };
    applied.iter().filter_map(line).collect()
}

pub(in crate::cli::documents) fn print_lines(lines: Vec<Line>, mode: Mode, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Text => {
            let summary = summary(&lines, mode);
            for Line { name, result, proposal, denied, .. } in lines {
                let would = if mode == Mode::Check && result != UNCHANGED { "would be " } else { "" };
                let denied = denied.map_or_else(String::new, |lifetime| {
                    let verb = if mode == Mode::Check { "would be" } else { "are" };
                    format!(": its authentication changes, and tokens issued before, with up to {lifetime} left, {verb} denied")
                });
                let proposal = proposal.map_or_else(String::new, |id| format!(" as {id}"));
                output::print(&format!("{name} {would}{result}{proposal}{denied}"))?;
            }
            if let Some(summary) = summary {
                output::note(&summary);
            }
            Ok(())
        }
        Format::Json => {
            let dry_run = mode == Mode::Check;
            let object = |Line { field, name, result, proposal, denied }: Line| {
                let mut object = json!({ (field): name, "result": result, "dry_run": dry_run });
                if let (Some(members), Some(proposal)) = (object.as_object_mut(), proposal) {
                    members.insert("proposal".to_owned(), proposal.into());
                }
                if let (Some(members), Some(lifetime)) = (object.as_object_mut(), denied) {
                    members.insert("denied_tokens_lifetime".to_owned(), lifetime.into());
                }
                object
            };
            output::print_json(&lines.into_iter().map(object).collect::<Vec<_>>())
        }
    }
}

/// The identifiers of the changes that wait for a second admin.
pub(in crate::cli::documents) fn proposed(applied: &[Applied]) -> Vec<String> {
    let proposal = |one: &Applied| if let Outcome::Proposed(id) = &one.outcome { Some(id.clone()) } else { None };
    applied.iter().filter_map(proposal).collect()
}

/// The identifiers of those among lines.
pub(in crate::cli::documents) fn proposed_lines(lines: &[Line]) -> Vec<String> {
    lines.iter().filter_map(|line| line.proposal.clone()).collect()
}

/// The error that changes wait for a second admin, if any do.
pub(in crate::cli::documents) fn waiting(proposals: &[String]) -> Result<(), CommandError> {
    if proposals.is_empty() { Ok(()) } else { Err(waiting::waiting(proposals)) }
}

/// How many documents came to which result, where there are several.
fn summary(lines: &[Line], mode: Mode) -> Option<String> {
    if lines.len() < 2 {
        return None;
    }
    let of = |result: &str| match lines.iter().filter(|line| line.result == result).count() {
        0 => None,
        count => Some(format!("{count} {result}")),
    };
    let counts: Vec<String> = [CREATED, UPDATED, UNCHANGED, PROPOSED, DELETED].into_iter().filter_map(of).collect();
    let written = if mode == Mode::Check { "; nothing is written" } else { "" };
    Some(format!("{} documents: {}{written}", lines.len(), counts.join(", ")))
}

/// The error with which the last document was refused, if it was.
pub(in crate::cli::documents) fn refusal<K: Registered>(applied: &[Applied]) -> Option<CommandError> {
    applied.iter().find_map(|Applied { name, outcome, .. }| match outcome {
        Outcome::Refused(refused) => {
            let error = status::explain(refused, K::NEEDS).of(name);
            Some(if is_retryable(refused) { error } else { error.not_retryable() })
        }
        Outcome::Created | Outcome::Updated | Outcome::Unchanged | Outcome::Proposed(_) => None,
    })
}

/// Whether the server can accept the same document later without a change of anything else.
fn is_retryable(refused: &Status) -> bool {
    match refused.code() {
        Code::InvalidArgument | Code::OutOfRange => false,
        Code::FailedPrecondition => {
            refused.get_details_error_info().is_none_or(|info| info.reason != "REPORT_OVER_ENFORCE")
        }
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
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => true,
    }
}

const CREATED: &str = "created";
const UPDATED: &str = "updated";
const UNCHANGED: &str = "unchanged";
const PROPOSED: &str = "proposed";
const DELETED: &str = "deleted";

fn result(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Created => Some(CREATED),
        Outcome::Updated => Some(UPDATED),
        Outcome::Unchanged => Some(UNCHANGED),
        Outcome::Proposed(_) => Some(PROPOSED),
        Outcome::Refused(_) => None,
    }
}
