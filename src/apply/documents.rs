//! Applies documents to a registry.

use std::time::Duration;

use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::apply::document::Document;
use crate::apply::journal::Change;
use crate::apply::journal::Journal;
use crate::apply::transport::Registry;
use crate::apply::transport::Transport;

/// How many times a change is attempted when concurrent writers change the same record.
const ATTEMPTS: usize = 4;

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
    /// Where the change denies tokens that were issued before it: for how long they would have been accepted at most.
    pub denied_tokens: Option<Duration>,
    /// What the server warns of.
    pub warnings: Vec<String>,
}

/// Applies documents in order and stops at the first one that is refused: later documents are not applied and not in
/// the result.
pub async fn apply<D: Document, S: Transport>(registry: &mut Registry<S>, documents: &[D], mode: Mode) -> Vec<Applied> {
    apply_in_order(registry, documents, mode, &mut Journal::default()).await
}

/// Applies documents as [`apply`] does with [`Mode::Write`], and adds what was changed to the journal.
pub async fn write<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    documents: &[D],
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    apply_in_order(registry, documents, Mode::Write, journal).await
}

async fn apply_in_order<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    documents: &[D],
    mode: Mode,
    journal: &mut Journal<D>,
) -> Vec<Applied> {
    let mut applied = Vec::new();
    for document in documents {
        let mut warnings = Vec::new();
        let result = apply_one(registry, document, mode, journal, &mut warnings).await;
        let (outcome, denied_tokens) = result.unwrap_or_else(|status| (Outcome::Refused(status), None));
        let is_last = matches!(outcome, Outcome::Refused(_));
        applied.push(Applied { name: document.name().to_owned(), outcome, denied_tokens, warnings });
        if is_last {
            break;
        }
    }
    applied
}

async fn apply_one<D: Document, S: Transport>(
    registry: &mut Registry<S>,
    document: &D,
    mode: Mode,
    journal: &mut Journal<D>,
    warnings: &mut Vec<String>,
) -> Result<(Outcome, Option<Duration>), Status> {
    let validate_only = mode == Mode::Check;
    let mut record = |before: Option<D::Message>, was_deleted, after: &D::Message| {
        if mode == Mode::Write {
            let etag = D::server_fields(after).etag;
            journal.add(Change { name: document.name().to_owned(), before, was_deleted, etag });
        }
    };
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let written = match D::read(registry, document.name()).await {
            Ok(present) => {
                let wanted = document.over(&present).message(D::server_fields(&present).etag);
                let updated = D::update(registry, wanted, validate_only).await;
                // A write that changes nothing keeps the etag. A validation keeps it too, and is compared by content.
                updated.map(|mut updated| {
                    *warnings = D::take_warnings(&mut updated);
                    if present == updated {
                        return (Outcome::Unchanged, None);
                    }
                    let denied = document.denied_lifetime(&present, &updated);
                    record(Some(present), false, &updated);
                    (Outcome::Updated, denied)
                })
            }
            Err(status) if status.code() == Code::NotFound => {
                let was_deleted =
                    status.get_details_error_info().is_some_and(|info| info.metadata.contains_key("deleted"));
                let created = D::create(registry, document.message(String::new()), validate_only).await;
                created.map(|mut created| {
                    *warnings = D::take_warnings(&mut created);
                    record(None, was_deleted, &created);
                    (Outcome::Created, None)
                })
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
