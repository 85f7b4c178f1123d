//! What was written, so that it can be undone.

use tonic::Code;
use tonic::Status;

use crate::apply::document::Document;
use crate::apply::document::Write;
use crate::apply::transport::Registry;
use crate::apply::transport::Transport;
use crate::apply::transport::patiently;

/// The reason of the change that undoes another.
const UNDONE: &str = "another document was refused";

/// The changes of records of one kind, in the order in which they were written.
#[derive(Debug)]
pub struct Journal<D: Document> {
    changes: Vec<Change<D>>,
    /// The names of the records of which it is not known whether they were written.
    doubtful: Vec<String>,
}

/// A record that was created or updated.
#[derive(Debug)]
pub(in crate::apply) struct Change<D: Document> {
    /// The name of the record.
    pub(in crate::apply) name: String,
    /// The record before, or `None` if it was created.
    pub(in crate::apply) before: Option<D::Message>,
    /// Whether the record was deleted before it was created, so that its deletion is to be remembered again.
    pub(in crate::apply) was_deleted: bool,
    /// The etag that the change gave it.
    pub(in crate::apply) etag: String,
}

impl<D: Document> Default for Journal<D> {
    fn default() -> Self {
        Self { changes: Vec::new(), doubtful: Vec::new() }
    }
}

impl<D: Document> Journal<D> {
    pub(in crate::apply) fn add(&mut self, change: Change<D>) {
        self.changes.push(change);
    }

    pub(in crate::apply) fn doubt(&mut self, name: String) {
        self.doubtful.push(name);
    }
}

/// Undoes changes, the last one first: deletes what was created, and writes back what was updated. Returns the names of
/// the records that keep their change, or may keep it: those that another writer has changed since, those of which it is not
/// known whether they were written, and if the server stops answering all that are left.
pub async fn undo<D: Document, S: Transport>(registry: &mut Registry<S>, journal: Journal<D>) -> Vec<String> {
    let mut kept = journal.doubtful;
    let mut answers = true;
    for change in journal.changes.into_iter().rev() {
        let name = change.name.clone();
        if !answers {
            kept.push(name);
            continue;
        }
        match undo_one(registry, change).await {
            Ok(()) => {}
            Err(status) => {
                answers = matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::InvalidArgument);
                kept.push(name);
            }
        }
    }
    kept
}

async fn undo_one<D: Document, S: Transport>(registry: &Registry<S>, change: Change<D>) -> Result<(), Status> {
    let Change { name, before, was_deleted, etag } = change;
    let Some(before) = before else {
        let deleted =
            patiently(async || D::delete(&mut registry.clone(), name.clone(), etag.clone(), UNDONE).await).await;
        return match deleted {
            // Another writer has deleted it already.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Ok(()) if !was_deleted => patiently(async || D::forget(&mut registry.clone(), name.clone()).await).await,
            deleted => deleted,
        };
    };
    let before = D::try_from(before).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let write = Write { validate_only: false, reason: UNDONE };
    let updated = async || D::update(&mut registry.clone(), before.message(etag.clone()), write).await;
    match patiently(updated).await {
        // Another writer has changed it, by deleting it.
        Err(status) if status.code() == Code::NotFound => Err(Status::aborted(name)),
        updated => updated.map(drop),
    }
}
