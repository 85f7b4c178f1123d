//! The records of the store that this version cannot read.

use imbl::OrdMap;

use crate::authority::state::schemas;
use crate::authority::state::schemas::Effect;
use crate::authority::state::schemas::KINDS;
use crate::authority::store::Revision;
use crate::authority::store::TooNew;

/// The records that cannot be read. A clone shares the unchanged entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreadable {
    records: OrdMap<String, (Revision, Option<TooNew>)>,
    /// How many of them forbid every decision.
    forbidding: usize,
}

impl Unreadable {
    /// Adds the record at a key, which may be one of a newer schema.
    pub(super) fn insert(&mut self, key: &str, revision: Revision, too_new: Option<TooNew>) {
        self.remove(key);
        self.forbidding += usize::from(forbids(key, too_new));
        self.records.insert(key.to_owned(), (revision, too_new));
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some((_, too_new)) = self.records.remove(key) {
            self.forbidding -= usize::from(forbids(key, too_new));
        }
    }

    /// All of them, by key.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Revision, Option<TooNew>)> {
        self.records.iter().map(|(key, (revision, too_new))| (key.as_str(), *revision, *too_new))
    }

    /// The revision of the record at a key, if it is one of them.
    pub(super) fn revision_of(&self, key: &str) -> Option<Revision> {
        self.records.get(key).map(|(revision, _)| *revision)
    }

    /// Whether the record at a key is one of a newer schema.
    pub(super) fn is_too_new(&self, key: &str) -> bool {
        self.records.get(key).is_some_and(|(_, too_new)| too_new.is_some())
    }

    /// Whether one of them forbids every decision.
    pub(super) fn forbids_decisions(&self) -> bool {
        self.forbidding > 0
    }

    /// How many have a newer schema, for each kind of record.
    pub(super) fn too_new(&self) -> impl Iterator<Item = (&'static str, usize)> {
        KINDS.iter().map(|kind| {
            let newer =
                self.records.iter().filter(|(key, (_, too_new))| too_new.is_some() && key.starts_with(kind.prefix));
            (kind.label, newer.count())
        })
    }
}

/// A damaged revocation or signing key is as if it were not there, and is in the log.
fn forbids(key: &str, too_new: Option<TooNew>) -> bool {
    too_new.is_some() && schemas::kind_of(key).is_some_and(|kind| kind.effect == Effect::Forbids)
}
