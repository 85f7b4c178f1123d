//! What `lanyard apply --prune` deletes: what the same name manages, and no document registers.

use std::collections::HashSet;

use crate::apply::Document as _;
use crate::apply::Registry;
use crate::apply::proposal_of;
use crate::cli::documents::Registered;
use crate::cli::documents::apply::Line;
use crate::cli::documents::apply::deleted;
use crate::cli::documents::list;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::status;
use crate::client::connection::Channel;

/// A record that no document registers, as it was when it was listed.
pub(in crate::cli::documents) struct Unwanted {
    name: String,
    etag: String,
}

/// The records of a kind that a name manages, and none of these documents registers.
pub(in crate::cli::documents) async fn unwanted<K: Registered>(
    registry: &mut Registry<Channel>,
    manager: &str,
    documents: &[K::Metadata],
) -> Result<Vec<Unwanted>, CommandError> {
    let wanted: HashSet<&str> = documents.iter().map(K::Metadata::name).collect();
    let mut unwanted = Vec::new();
    for record in list::all::<K>(registry).await? {
        let mut metadata = record.document.metadata().clone();
        let name = metadata.name().to_owned();
        if K::managed_by(&mut metadata).as_deref() != Some(manager) || wanted.contains(name.as_str()) {
            continue;
        }
        if record.suspended.is_empty() {
            unwanted.push(Unwanted { name, etag: record.etag });
        } else {
            output::note(&format!("note: {name} is not deleted: it is suspended, and what it says is unknown"));
        }
    }
    Ok(unwanted)
}

/// The lines of the output for what is to be deleted.
pub(in crate::cli::documents) fn lines<K: Registered>(unwanted: &[Unwanted]) -> impl Iterator<Item = Line> {
    unwanted.iter().map(|one| deleted(K::NAME, &one.name))
}

/// Deletes records, unless they have changed since they were listed: they may be another manager's now. Returns the names of
/// those whose deletion waits for a second admin, with its identifier.
pub(in crate::cli::documents) async fn delete<K: Registered>(
    registry: &mut Registry<Channel>,
    unwanted: Vec<Unwanted>,
    reason: &str,
) -> Result<Vec<(String, String)>, CommandError> {
    let mut kept = Vec::new();
    for Unwanted { name, etag } in unwanted {
        let done = K::Metadata::delete(registry, name.clone(), etag, reason).await;
        match done {
            Err(status) if let Some(proposal) = proposal_of(&status) => kept.push((name, proposal)),
            done => done.map_err(|status| {
                let error = status::explain(&status, K::NEEDS).of(&name);
                error.of("the documents are applied, but not all that is to go is deleted")
            })?,
        }
    }
    Ok(kept)
}
