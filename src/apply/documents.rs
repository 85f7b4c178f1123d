//! Applies documents to a registry.

use tonic::Code;
use tonic::Status;

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
        let outcome = apply_one(registry, document, mode, journal).await.unwrap_or_else(Outcome::Refused);
        let is_last = matches!(outcome, Outcome::Refused(_));
        applied.push(Applied { name: document.name().to_owned(), outcome });
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
) -> Result<Outcome, Status> {
    let validate_only = mode == Mode::Check;
    let mut record = |before: Option<D::Message>, after: &D::Message| {
        if mode == Mode::Write {
            let etag = D::server_fields(after).etag;
            journal.add(Change { name: document.name().to_owned(), before, etag });
        }
    };
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let written = match D::read(registry, document.name()).await {
            Ok(present) => {
                let wanted = document.message(D::server_fields(&present).etag);
                let updated = D::update(registry, wanted, validate_only).await;
                // A write that changes nothing keeps the etag. A validation keeps it too, and is compared by content.
                updated.map(|updated| {
                    if present == updated {
                        return Outcome::Unchanged;
                    }
                    record(Some(present), &updated);
                    Outcome::Updated
                })
            }
            Err(status) if status.code() == Code::NotFound => {
                let created = D::create(registry, document.message(String::new()), validate_only).await;
                created.map(|created| {
                    record(None, &created);
                    Outcome::Created
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
