//! What those who follow documents in the store have in common.

use std::mem;
use std::sync::Mutex;
use std::sync::PoisonError;

use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::Authority;
use crate::authority::state::StoredBundle;
use crate::authority::store::Revision;

/// The revision of the last record of a document that was looked at.
#[derive(Debug, Default)]
pub(super) struct LastSeen(Mutex<Option<Revision>>);

impl LastSeen {
    /// What the store has under this name; `None` where that was looked at before.
    pub(super) fn look(&self, authority: &Authority, name: &str) -> Option<StoredBundle> {
        let stored = authority.stored_bundle(name);
        let revision = match &stored {
            StoredBundle::Absent => None,
            StoredBundle::Unreadable(revision) | StoredBundle::Fetched(_, revision) => Some(*revision),
        };
        let last = mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), revision);
        (last != revision).then_some(stored)
    }
}

/// The digest of what a configuration says of a source: a document that was fetched under another one is not taken from the
/// store. Each part counts with its length; what follows the last one, without.
pub(super) fn source(parts: &[&str], rest: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.update(rest);
    hex::encode(hash.finalize())
}
