//! How far the snapshot may lag behind the store.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::authority::store::Revision;

/// Why no decision can be made by the snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray, thiserror::Error)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Undecidable {
    /// The store has not confirmed the snapshot for longer than the configuration, or the resource, allows.
    #[error("{}", self.sentence())]
    #[strum(serialize = "SNAPSHOT_STALE")]
    Stale,
    /// The store has a revocation, a signing key or a role in a newer schema than this version reads.
    #[error("{}", self.sentence())]
    RecordTooNew,
}

impl Undecidable {
    /// The fixed code, the same in every protocol.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// The fixed sentence that the caller gets.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Stale => "the store has not been followed for too long to decide",
            Self::RecordTooNew => "the store has a record that only a newer version of this server can decide by",
        }
    }
}

/// What decisions can be made about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decidable {
    /// Every resource.
    All,
    /// Only resources with a longer bound of staleness than others.
    Some,
}

/// How many heartbeats may be under way.
const MAX_AWAITED: usize = 64;

/// Since when the store may have changes that were not received, in milliseconds of [`Clock::elapsed`]; [`NEVER`] where
/// there is no such time.
///
/// [`Clock::elapsed`]: crate::authority::clock::Clock::elapsed
#[derive(Debug)]
pub(in crate::authority) struct StoreFeed {
    /// When the watch was disconnected; [`NEVER`] while it is connected.
    disconnected: AtomicU64,
    /// The latest moment up to which the snapshot is known to contain every change. [`NEVER`] before the first.
    last_progress: AtomicU64,
    /// What was sent to the store and has not come back on the watch: when it was sent, the oldest first.
    awaited: Mutex<VecDeque<(Sent, Duration)>>,
}

/// What is to come back on the watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum Sent {
    /// The heartbeat with this number.
    Beat(u64),
    /// A read, at this revision of the store.
    Read(Revision),
}

const NEVER: u64 = u64::MAX;

impl Default for StoreFeed {
    fn default() -> Self {
        let (disconnected, last_progress) = (AtomicU64::new(NEVER), AtomicU64::new(NEVER));
        Self { disconnected, last_progress, awaited: Mutex::default() }
    }
}

impl StoreFeed {
    /// Records that the watch was disconnected. Of several times in a row the first is kept.
    pub(in crate::authority) fn disconnected(&self, now: Duration) {
        let now = milliseconds(now);
        let _already = self.disconnected.compare_exchange(NEVER, now, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// Records that the store has been read completely, and is watched from this revision on.
    pub(in crate::authority) fn synced(&self) {
        self.disconnected.store(NEVER, Ordering::Release);
    }

    /// Records that the snapshot contains every change up to this moment.
    pub(in crate::authority) fn progress(&self, moment: Duration) {
        self.last_progress.store(milliseconds(moment), Ordering::Release);
    }

    /// Records that something was sent at this moment.
    pub(in crate::authority) fn sent(&self, what: Sent, moment: Duration) {
        let mut awaited = self.awaited();
        if awaited.len() == MAX_AWAITED {
            awaited.pop_front();
        }
        awaited.push_back((what, moment));
    }

    /// Records that what fits has come back on the watch: the snapshot contains every change up to when it was sent.
    pub(in crate::authority) fn came_back(&self, fits: impl Fn(&Sent) -> bool) {
        let mut awaited = self.awaited();
        let Some(last) = awaited.iter().rposition(|(sent, _)| fits(sent)) else { return };
        let (_, moment) = awaited.drain(..=last).next_back().unwrap_or((Sent::Beat(0), Duration::ZERO));
        self.progress(moment);
    }

    /// Since when a change may have been missed; `None` where none can have been.
    pub(in crate::authority) fn unsure_since(&self) -> Option<Duration> {
        let since = self.disconnected.load(Ordering::Acquire).min(self.last_progress.load(Ordering::Acquire));
        (since != NEVER).then(|| Duration::from_millis(since))
    }

    fn awaited(&self) -> MutexGuard<'_, VecDeque<(Sent, Duration)>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(NEVER - 1)
}
