//! Applies documents to a registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::Code;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt as _;

use crate::apply::difference::Difference;
use crate::apply::difference::differences;
use crate::apply::document::Document;
use crate::apply::document::Write;
use crate::apply::journal::Change;
use crate::apply::journal::Journal;
use crate::apply::transport::Registry;
use crate::apply::transport::Transport;
use crate::apply::transport::patiently;

/// How many times a change is attempted when concurrent writers change the same record.
const ATTEMPTS: usize = 4;

/// How many documents are checked or written at a time: the server writes what arrives together with one sync.
const AT_ONCE: usize = 8;

/// Whether anything is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The server only validates, and nothing is written.
    Check,
    /// Differences are written.
    Write,
}

/// The result of applying a document, or in [`Mode::Check`] the result that it would have.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The record did not exist and is registered.
    Created,
    /// The record existed and is replaced.
    Updated,
    /// The record is already equal to the document.
    Unchanged,
    /// The change waits for a second admin under this identifier, and is not made.
    Proposed(String),
    /// The server refused it, or could not be reached.
    Refused(Status),
}

/// The result for one document.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The name of the record.
    pub name: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The fields that the change gives another value. Empty unless the record is created or updated.
    pub differences: Vec<Difference>,
    /// Where the change denies tokens that were issued before it: for how long they would have been accepted at most.
    pub denied_tokens: Option<Duration>,
    /// What the server warns of.
    pub warnings: Vec<String>,
}

/// The conditions on which documents are applied.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The `etag`s that documents say they were written for, by their names. A record with another one is not touched.
    pub etags: HashMap<String, String>,
    /// Whether `mode: report` may replace `mode: enforce`. Otherwise such a document is refused.
    pub allow_report: bool,
    /// Counts the documents that are done.
    pub done: Arc<AtomicUsize>,
}

/// Applies documents in order and stops at the first one that is refused: later documents are not in the result, and not
/// applied.
pub async fn apply<D: Document, S: Transport>(registry: &mut Registry<S>, documents: &[D], mode: Mode) -> Vec<Applied> {
    let at_once = match mode {
        Mode::Check => AT_ONCE,
        Mode::Write => 1,
    };
    apply_at_once(registry, documents, (mode, "", &Conditions::default()), at_once, &mut Journal::default()).await
}

/// Has the server validate documents, as [`apply`] does with [`Mode::Check`], on these conditions.
pub async fn check<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    documents: &[D],
    conditions: &Conditions,
) -> Vec<Applied> {
    apply_at_once(registry, documents, (Mode::Check, "", conditions), AT_ONCE, &mut Journal::default()).await
}

/// Applies documents as [`apply`] does with [`Mode::Write`], several at a time, for this reason, which may be empty, and on these
/// conditions. Adds what was changed to the journal: also documents that were written beside the one that is refused.
pub async fn write<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    documents: &[D],
    (reason, conditions): (&str, &Conditions),
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    apply_at_once(registry, documents, (Mode::Write, reason, conditions), AT_ONCE, journal).await
}

async fn apply_at_once<D: Document, S: Transport>(
    registry: &Registry<S>,
    documents: &[D],
    (mode, reason, conditions): (Mode, &str, &Conditions),
    at_once: usize,
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    let is_refused = AtomicBool::new(false);
    let begin = |document| {
        let is_refused = &is_refused;
        let write = Write { validate_only: mode == Mode::Check, reason };
        async move {
            if is_refused.load(Ordering::Acquire) {
                return None;
            }
            let done = apply_one(registry, document, conditions, write).await;
            is_refused.fetch_or(done.is_err(), Ordering::AcqRel);
            conditions.done.fetch_add(1, Ordering::Relaxed);
            Some((document, done))
        }
    };
    // What has begun is awaited also where another one is refused: it may be written.
    let done: Vec<_> = stream::iter(documents).map(begin).buffered(at_once).collect().await;
    let (mut applied, mut has_ended) = (Vec::new(), false);
    for (document, done) in done.into_iter().flatten() {
        let (name, is_last) = (document.name().to_owned(), done.is_err());
        let one = match done {
            Ok(Done { change, outcome, differences, denied_tokens, warnings }) => {
                if let (Some(change), Mode::Write) = (change, mode) {
                    journal.add(change);
                }
                Applied { name, outcome, differences, denied_tokens, warnings }
            }
            Err(Failed { status, may_be_written }) => {
                if may_be_written {
                    journal.doubt(name.clone());
                }
                let (outcome, differences, warnings) = (Outcome::Refused(status), Vec::new(), Vec::new());
                Applied { name, outcome, differences, denied_tokens: None, warnings }
            }
        };
        if !has_ended {
            applied.push(one);
        }
        has_ended |= is_last;
    }
    applied
}

/// A document that was not refused.
struct Done<D: Document> {
    /// The change, unless there is none.
    change: Option<Change<D>>,
    outcome: Outcome,
    differences: Vec<Difference>,
    denied_tokens: Option<Duration>,
    warnings: Vec<String>,
}

/// A document that was not applied, or of which that is not known.
struct Failed {
    status: Status,
    may_be_written: bool,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self { status, may_be_written: false }
    }
}

/// Whether an error says that nothing was changed.
fn is_definite(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
    }
}

/// Applies a document. Where the server did not say whether the change was made, the record does.
async fn apply_one<D: Document, S: Transport>(
    registry: &Registry<S>,
    document: &D,
    conditions: &Conditions,
    write: Write<'_>,
) -> Result<Done<D>, Failed> {
    let etag = conditions.etags.get(document.name());
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let before = Before::read(registry, document).await?;
        if !etag.is_none_or(|etag| before.has(etag)) {
            return Err(changed().into());
        }
        if !conditions.allow_report && before.is_enforced_until(document) {
            return Err(report_over_enforce().into());
        }
        match before.write(registry, document, write).await {
            Ok(after) => return Ok(Done::of(document, before, after)),
            Err(status) if let Some(proposal) = proposal_of(&status) => return Ok(Done::proposed(proposal)),
            // Another writer changed, registered or deleted the record since it was read.
            Err(status) if matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound) => {
                last = status;
            }
            Err(status) if write.validate_only || is_definite(&status) => return Err(status.into()),
            Err(status) => return settle(registry, document, before, status).await,
        }
    }
    Err(last.into())
}

/// What became of a write that failed without saying so.
async fn settle<D: Document, S: Transport>(
    registry: &Registry<S>,
    document: &D,
    before: Before<D>,
    failed: Status,
) -> Result<Done<D>, Failed> {
    let unknown = |failed| Failed { status: failed, may_be_written: true };
    let check = Write { validate_only: true, reason: "" };
    let Ok(now) = Before::read(registry, document).await else { return Err(unknown(failed)) };
    let Before::Present(present) = &now else { return Err(failed.into()) };
    let Ok(mut checked) = now.write(registry, document, check).await else { return Err(unknown(failed)) };
    D::take_warnings(&mut checked);
    if checked == *present { Ok(Done::of(document, before, checked)) } else { Err(failed.into()) }
}

/// What is registered under the name of a document before it is applied.
enum Before<D: Document> {
    /// Nothing; `was_deleted` is whether the deletion of a record is remembered.
    Absent { was_deleted: bool },
    /// A record.
    Present(D::Message),
}

/// The refusal of a document that was written for another revision than the present one.
fn changed() -> Status {
    let details = ErrorDetails::with_error_info("ETAG_MISMATCH", "lanyard", HashMap::new());
    let message = "the record is not the one that the document's etag names: it has changed, or is gone";
    Status::with_error_details(Code::Aborted, message, details)
}

/// The refusal of a document that ends the enforcement of denials without being allowed to.
fn report_over_enforce() -> Status {
    let details = ErrorDetails::with_error_info("REPORT_OVER_ENFORCE", "lanyard", HashMap::new());
    let message = "mode: report would let through what is denied now, since the mode is enforce";
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

impl<D: Document> Before<D> {
    /// Whether it is a record whose enforcement the document ends.
    fn is_enforced_until(&self, document: &D) -> bool {
        match self {
            Self::Absent { .. } => false,
            Self::Present(present) => document.ends_enforcement(present),
        }
    }

    /// Whether it is a record with this `etag`.
    fn has(&self, etag: &str) -> bool {
        match self {
            Self::Absent { .. } => false,
            Self::Present(present) => D::server_fields(present).etag == etag,
        }
    }

    async fn read<S: Transport>(registry: &Registry<S>, document: &D) -> Result<Self, Status> {
        match patiently(async || D::read(&mut registry.clone(), document.name()).await).await {
            Ok(present) => Ok(Self::Present(present)),
            Err(status) if status.code() == Code::NotFound => {
                let info = status.get_details_error_info();
                Ok(Self::Absent { was_deleted: info.is_some_and(|info| info.metadata.contains_key("deleted")) })
            }
            Err(status) => Err(status),
        }
    }

    /// Writes the document in place of what was there.
    async fn write<S: Transport>(
        &self,
        registry: &Registry<S>,
        document: &D,
        write: Write<'_>,
    ) -> Result<D::Message, Status> {
        patiently(async || {
            let mut registry = registry.clone();
            match self {
                Self::Absent { .. } => D::create(&mut registry, document.message(String::new()), write).await,
                Self::Present(present) => {
                    let wanted = document.over(present).message(D::server_fields(present).etag);
                    D::update(&mut registry, wanted, write).await
                }
            }
        })
        .await
    }
}

/// The identifier of a change that waits for a second admin, where that is what a refusal says.
pub fn proposal_of(status: &Status) -> Option<String> {
    let info = status.get_details_error_info().filter(|info| info.reason == "PROPOSED")?;
    info.metadata.get("proposal").cloned()
}

impl<D: Document> Done<D> {
    fn proposed(proposal: String) -> Self {
        let (differences, warnings) = (Vec::new(), Vec::new());
        Self { change: None, outcome: Outcome::Proposed(proposal), differences, denied_tokens: None, warnings }
    }

    fn of(document: &D, before: Before<D>, mut after: D::Message) -> Self {
        let warnings = D::take_warnings(&mut after);
        let (before, was_deleted) = match before {
            Before::Absent { was_deleted } => (None, was_deleted),
            Before::Present(present) => (Some(present), false),
        };
        // A write that changes nothing keeps the etag. A validation keeps it too, and is compared by content.
        if before.as_ref() == Some(&after) {
            let outcome = Outcome::Unchanged;
            return Self { change: None, outcome, differences: Vec::new(), denied_tokens: None, warnings };
        }
        let read = |message: &D::Message| D::try_from(message.clone()).ok();
        Self {
            outcome: if before.is_some() { Outcome::Updated } else { Outcome::Created },
            differences: differences(&before.as_ref().and_then(read), &read(&after)),
            denied_tokens: before.as_ref().and_then(|before| document.denied_lifetime(before, &after)),
            warnings,
            change: Some(Change {
                name: document.name().to_owned(),
                before,
                was_deleted,
                etag: D::server_fields(&after).etag,
            }),
        }
    }
}
