//! What the stream sent, and how old it may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::warn;

use crate::client::verifier::jws::Key;
use crate::client::verifier::revocations::Revocations;
use crate::proto::RevocationEntries;
use crate::proto::VerificationKey;

/// The keys and the revocations of a server, up to a revision.
#[derive(Default)]
pub(super) struct Copy {
    keys: HashMap<String, Arc<Key>>,
    pub(super) revocations: Revocations,
    /// Everything up to this revision is in it.
    pub(super) revision: u64,
}

impl Copy {
    /// Takes what was written in one transaction, or a part of the listing.
    pub(super) fn apply(&mut self, entries: RevocationEntries) {
        let RevocationEntries { revision, revocations, keys } = entries;
        for entry in revocations {
            self.revocations.apply(entry);
        }
        for VerificationKey { kid, jwk } in keys {
            let key = jwk.and_then(|jwk| {
                let key = Key::from_jwk(&jwk);
                if key.is_none() {
                    warn!(kid, "a key that tokens are signed with cannot be read; what it signs is refused");
                }
                key
            });
            match key {
                Some(key) => drop(self.keys.insert(kid, Arc::new(key))),
                None => drop(self.keys.remove(&kid)),
            }
        }
        self.advance(revision);
    }

    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    pub(super) fn key(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid).map(|key| &**key)
    }
}

/// A moment of this machine. The monotonic clock may stop while the machine sleeps, and the other one may be set: the longer of
/// the two spans counts.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "a workload has no other clock")]
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    pub(super) fn elapsed(self) -> Duration {
        let now = Self::now();
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        monotonic.max(now.wall.duration_since(self.wall).unwrap_or_default())
    }

    /// The seconds since the epoch. A clock before it reads as 0.
    pub(super) fn seconds(self) -> u64 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// Until when a copy has all changes.
#[derive(Clone, Copy)]
pub(super) struct Confirmed {
    /// When this was asked,
    pub(super) asked: Moment,
    /// and how old the server's own snapshot could be then.
    pub(super) behind: Duration,
}

impl Confirmed {
    pub(super) fn age(self) -> Duration {
        self.asked.elapsed().saturating_add(self.behind)
    }
}

/// The copy that uses are verified with.
#[derive(Default)]
pub(super) struct Present {
    pub(super) copy: Copy,
    /// `None` until the first listing is complete.
    pub(super) confirmed: Option<Confirmed>,
}

impl Present {
    /// How old the copy may be.
    pub(super) fn age(&self) -> Option<Duration> {
        self.confirmed.map(Confirmed::age)
    }

    /// Replaces the copy by a listing.
    pub(super) fn replace(&mut self, copy: Copy, confirmed: Confirmed) {
        *self = Self { copy, confirmed: Some(confirmed) };
    }

    /// The copy has all changes up to this revision. An older confirmation, such as that of a server that is behind, changes nothing.
    pub(super) fn confirm(&mut self, revision: u64, confirmed: Option<Confirmed>, now: u64) {
        self.copy.advance(revision);
        self.copy.revocations.forget(now);
        if let Some(confirmed) = confirmed
            && self.age().is_some_and(|age| confirmed.age() < age)
        {
            self.confirmed = Some(confirmed);
        }
    }
}
