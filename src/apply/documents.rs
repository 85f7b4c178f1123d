//! Applying documents.

use tonic::Code;
use tonic::Status;

use crate::apply::document::Document;
use crate::apply::transport::Registry;
use crate::apply::transport::Transport;

/// How often a change is made anew because somebody else changed the same record in between.
const ATTEMPTS: usize = 4;

/// Whether anything is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The server only checks, and nothing is written.
    Check,
    /// What differs is written.
    Write,
}

/// What became of a document, or in [`Mode::Check`] would become of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was not registered, and is now.
    Created,
    /// It was registered otherwise.
    Updated,
    /// It was registered just so.
    Unchanged,
    /// The server refused it, or could not be asked.
    Refused(Status),
}

/// A document that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// Applies documents in their order. One that is refused is the last: those behind it are not applied, and not in the answer.
pub async fn apply<D: Document, S: Transport>(registry: &mut Registry<S>, documents: &[D], mode: Mode) -> Vec<Applied> {
    let mut applied = Vec::new();
    for document in documents {
        let outcome = apply_one(registry, document, mode).await.unwrap_or_else(Outcome::Refused);
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
) -> Result<Outcome, Status> {
    let validate_only = mode == Mode::Check;
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let written = match D::read(registry, document.name()).await {
            Ok(present) => {
                let wanted = document.message(D::server_fields(&present).etag);
                let updated = D::update(registry, wanted, validate_only).await;
                // A write that changes nothing leaves the etag as it was; so does one that was only checked, where the
                // contents tell.
                updated.map(|updated| if present == updated { Outcome::Unchanged } else { Outcome::Updated })
            }
            Err(status) if status.code() == Code::NotFound => {
                let created = D::create(registry, document.message(String::new()), validate_only).await;
                created.map(|_| Outcome::Created)
            }
            Err(status) => return Err(status),
        };
        match written {
            // Changed, registered or deleted by somebody else since it was read.
            Err(status) if matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound) => {
                last = status;
            }
            decided => return decided,
        }
    }
    Err(last)
}
