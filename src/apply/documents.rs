//! Applies documents to a registry.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::Code;
use tonic::Status;
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

/// Applies documents in order and stops at the first one that is refused: later documents are not in the result, and not
/// applied.
pub async fn apply<D: Document, S: Transport>(registry: &mut Registry<S>, documents: &[D], mode: Mode) -> Vec<Applied> {
    let at_once = match mode {
        Mode::Check => AT_ONCE,
        Mode::Write => 1,
    };
    apply_at_once(registry, documents, (mode, ""), at_once, &mut Journal::default()).await
}

/// Applies documents as [`apply`] does with [`Mode::Write`], several at a time and for this reason, which may be empty, and
/// adds what was changed to the journal: also documents that were written beside the one that is refused.
pub async fn write<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    documents: &[D],
    reason: &str,
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    apply_at_once(registry, documents, (Mode::Write, reason), AT_ONCE, journal).await
}

async fn apply_at_once<D: Document, S: Transport>(
    registry: &Registry<S>,
    documents: &[D],
    (mode, reason): (Mode, &str),
    at_once: usize,
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    let is_refused = AtomicBool::new(false);
    let begin = |document| {
        let (mut registry, is_refused) = (registry.clone(), &is_refused);
        let write = Write { validate_only: mode == Mode::Check, reason };
        async move {
            if is_refused.load(Ordering::Acquire) {
                return None;
            }
            let done = apply_patiently(&mut registry, document, write).await;
            is_refused.fetch_or(done.is_err(), Ordering::AcqRel);
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

/// Applies a document, and again while the server says when it may be sent again. Where the server did not say whether a change
/// was made, the record does.
async fn apply_patiently<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    document: &D,
    write: Write<'_>,
) -> Result<Done<D>, Failed> {
    let before = D::read(registry, document.name()).await.ok();
    let failed = match patiently(async || apply_one(&mut registry.clone(), document, write).await).await {
        Ok(done) => return Ok(done),
        Err(status) => status,
    };
    if write.validate_only || is_definite(&failed) {
        return Err(Failed { status: failed, may_be_written: false });
    }
    let check = Write { validate_only: true, ..write };
    match (before, apply_one(registry, document, check).await, D::read(registry, document.name()).await) {
        // It is as the document says, and was not before.
        (None, Ok(Done { outcome: Outcome::Unchanged, .. }), Ok(present)) => {
            Ok(Done::created(document, false, present))
        }
        (Some(before), Ok(Done { outcome: Outcome::Unchanged, .. }), Ok(present)) => {
            Ok(Done::updated(document, before, present))
        }
        (_, Ok(_), _) => Err(Failed { status: failed, may_be_written: false }),
        (_, Err(_), _) => Err(Failed { status: failed, may_be_written: true }),
    }
}

/// A document that was not applied, or of which that is not known.
struct Failed {
    status: Status,
    may_be_written: bool,
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

async fn apply_one<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    document: &D,
    write: Write<'_>,
) -> Result<Done<D>, Status> {
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let written = match D::read(registry, document.name()).await {
            Ok(present) => {
                let wanted = document.over(&present).message(D::server_fields(&present).etag);
                let updated = D::update(registry, wanted, write).await;
                updated.map(|updated| Done::updated(document, present, updated))
            }
            Err(status) if status.code() == Code::NotFound => {
                let was_deleted =
                    status.get_details_error_info().is_some_and(|info| info.metadata.contains_key("deleted"));
                let created = D::create(registry, document.message(String::new()), write).await;
                created.map(|created| Done::created(document, was_deleted, created))
            }
            Err(status) => return Err(status),
        };
        match written {
            // Another writer changed, registered or deleted the record since it was read.
            Err(status) if matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound) => {
                last = status;
            }
            decided => return decided,
        }
    }
    Err(last)
}

impl<D: Document> Done<D> {
    fn updated(document: &D, present: D::Message, mut updated: D::Message) -> Self {
        let warnings = D::take_warnings(&mut updated);
        // A write that changes nothing keeps the etag. A validation keeps it too, and is compared by content.
        if present == updated {
            let outcome = Outcome::Unchanged;
            return Self { change: None, outcome, differences: Vec::new(), denied_tokens: None, warnings };
        }
        let read = |message: &D::Message| D::try_from(message.clone()).ok();
        Self {
            outcome: Outcome::Updated,
            differences: differences(&read(&present), &read(&updated)),
            denied_tokens: document.denied_lifetime(&present, &updated),
            warnings,
            change: Some(Change {
                name: document.name().to_owned(),
                before: Some(present),
                was_deleted: false,
                etag: D::server_fields(&updated).etag,
            }),
        }
    }

    fn created(document: &D, was_deleted: bool, mut created: D::Message) -> Self {
        let warnings = D::take_warnings(&mut created);
        let change = Change {
            name: document.name().to_owned(),
            before: None,
            was_deleted,
            etag: D::server_fields(&created).etag,
        };
        let differences = differences(&(), &D::try_from(created).ok());
        Self { change: Some(change), outcome: Outcome::Created, differences, denied_tokens: None, warnings }
    }
}
