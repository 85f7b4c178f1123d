//! The present state in memory: entries, recent changes and watchers. Both stores answer reads and watches from it.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::WatchStream;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::store::Batch;
use crate::authority::store::Change;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Listing;
use crate::authority::store::ListingPart;
use crate::authority::store::MAX_TRANSACTION_OPERATIONS;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Watch;
use crate::store::packed::Packed;
use crate::store::step::Entry;
use crate::store::step::Step;

/// How many of the latest changes are kept for watchers. A watcher that falls further behind has to list again: it
/// holds a position in this window and no queue of its own, so a slow one costs no memory.
const WINDOW: usize = 4096;

/// How long a watch may be without changes before it reports its progress. It is less than a second, the resolution of
/// the clock, so that it is shorter than any limit on staleness.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Requests the deletion of expired entries. It must not block.
pub(super) type Sweep = Box<dyn Fn() + Send + Sync>;

/// The state, shared between a store, its writer and its watchers.
pub(super) struct Table {
    state: RwLock<State>,
    changed: watch::Sender<()>,
    clock: Arc<dyn Clock>,
}

struct State {
    entries: Packed,
    /// The keys of the entries with an expiry, ordered by it.
    expiring: BTreeSet<(Timestamp, String)>,
    revision: Revision,
    /// The latest revisions. They are consecutive and end at `revision`.
    window: VecDeque<Batch>,
    /// The number of changes in the window.
    kept: usize,
    closed: bool,
}

impl Table {
    /// A table that holds `entries` as of `revision`.
    pub(super) fn new(entries: Packed, revision: Revision, clock: Arc<dyn Clock>) -> Self {
        let all = entries.keys(Bound::Unbounded);
        let expiring = all.filter_map(|(key, _, expires)| Some((expires?, key.to_owned()))).collect();
        let state = State { entries, expiring, revision, window: VecDeque::new(), kept: 0, closed: false };
        Self { state: RwLock::new(state), changed: watch::Sender::new(()), clock }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.get_even_expired(key).filter(|entry| !self.is_expired(entry))
    }

    /// As [`get`](Self::get), but also returns an entry that has expired and is not deleted yet.
    pub(super) fn get_even_expired(&self, key: &str) -> Option<Entry> {
        self.read().entries.get(key)
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        // Avoids reading the clock: almost no entry has an expiry.
        entry.expires.is_some() && entry.has_expired(self.now())
    }

    /// The expired keys, in the order of their expiry: as many as one transaction may delete.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<String> {
        let state = self.read();
        let expired = state.expiring.iter().take_while(|(expires, _)| *expires <= now);
        expired.take(MAX_TRANSACTION_OPERATIONS).map(|(_, key)| key.clone()).collect()
    }

    fn has_expired(&self) -> bool {
        let first = self.read().expiring.first().map(|(expires, _)| *expires);
        first.is_some_and(|first| first <= self.now())
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().revision
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        self.list_part(prefix, "", usize::MAX).listing
    }

    pub(super) fn list_part(&self, prefix: &str, after: &str, limit: usize) -> ListingPart {
        let state = self.read();
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let listed = state
            .entries
            .entries(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| !self.is_expired(entry))
            .map(|(key, entry)| (key.to_owned(), entry));
        let mut listed = listed.peekable();
        let entries = listed.by_ref().take(limit).collect();
        ListingPart { more: listed.peek().is_some(), listing: Listing { entries, revision: state.revision } }
    }

    pub(super) fn key_revisions(&self, after: &str, limit: usize) -> KeyRevisions {
        let state = self.read();
        let mut later = state.entries.keys(Bound::Excluded(after));
        let keys = later.by_ref().take(limit).map(|(key, revision, _)| (key.to_owned(), revision)).collect();
        KeyRevisions { keys, more: later.next().is_some(), revision: state.revision }
    }

    /// Makes `steps` visible to readers and watchers at once. Their revisions are consecutive.
    pub(super) fn apply(&self, steps: Vec<Step>) {
        let mut state = self.write();
        for Step { revision, changes } in steps {
            let mut batch = Batch { revision, changes: Vec::with_capacity(changes.len()) };
            for (key, entry) in changes {
                let value = entry.as_ref().map(|entry| Arc::clone(&entry.value));
                let expires = entry.as_ref().and_then(|entry| entry.expires);
                if let Some(old) = state.entries.expires(&key) {
                    state.expiring.remove(&(old, key.clone()));
                }
                match entry {
                    Some(entry) => state.entries.insert(&key, &entry),
                    None => state.entries.remove(&key),
                }
                if let Some(expires) = expires {
                    state.expiring.insert((expires, key.clone()));
                }
                batch.changes.push(Change { key, value });
            }
            state.revision = revision;
            state.kept += batch.changes.len();
            state.window.push_back(batch);
            while state.kept > WINDOW {
                let Some(oldest) = state.window.pop_front() else { break };
                state.kept -= oldest.changes.len();
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Looks at all entries, also those that have expired. No other thread may wait for a change meanwhile.
    pub(super) fn with_entries<T>(&self, look: impl FnOnce(&Packed) -> T) -> T {
        look(&self.read().entries)
    }

    /// Ends all watches once they have delivered the present changes.
    pub(super) fn close(&self) {
        self.write().closed = true;
        self.changed.send_replace(());
    }

    /// A watch. It also calls `sweep` when entries have expired.
    pub(super) fn watch(self: &Arc<Self>, prefix: &str, from: Revision, sweep: Sweep) -> Watch {
        let (table, prefix) = (Arc::clone(self), prefix.to_owned());
        let changed = WatchStream::new(self.changed.subscribe());
        Box::pin(Watcher { table, prefix, from, changed, sweep, ticks: None, ended: false })
    }

    fn after(&self, from: Revision, prefix: &str) -> Next {
        let state = self.read();
        // This store has not issued a later revision: the caller knows another history.
        let Some(behind) = state.revision.0.checked_sub(from.0) else { return Next::Compacted };
        if behind == 0 {
            return if state.closed { Next::Closed } else { Next::Nothing };
        }
        let position = usize::try_from(behind).ok().and_then(|behind| state.window.len().checked_sub(behind));
        let Some(position) = position else { return Next::Compacted };
        let matches = |change: &&Change| change.key.starts_with(prefix);
        for batch in state.window.range(position..) {
            let changes: Vec<Change> = batch.changes.iter().filter(matches).cloned().collect();
            if !changes.is_empty() {
                return Next::Batch(Batch { revision: batch.revision, changes });
            }
        }
        Next::Batch(Batch { revision: state.revision, changes: Vec::new() })
    }

    // Nothing panics while it holds the lock, and every change to the state is complete: the state behind a poisoned
    // lock is valid.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Table {
    /// Shows the number of entries, not their values: these may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.read();
        formatter
            .debug_struct("Table")
            .field("entries", &state.entries.len())
            .field("revision", &state.revision)
            .finish_non_exhaustive()
    }
}

enum Next {
    Batch(Batch),
    Nothing,
    Compacted,
    Closed,
}

struct Watcher {
    table: Arc<Table>,
    prefix: String,
    from: Revision,
    changed: WatchStream<()>,
    sweep: Sweep,
    /// Made at the first poll, since an interval needs a runtime.
    ticks: Option<Interval>,
    ended: bool,
}

impl Watcher {
    /// Ready each time that progress is due.
    fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ticks = self.ticks.get_or_insert_with(|| {
            let mut ticks = tokio::time::interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        ticks.poll_tick(context).map(drop)
    }
}

impl Stream for Watcher {
    type Item = Result<Batch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let tick = self.poll_tick(context);
        if tick.is_ready() && self.table.has_expired() {
            (self.sweep)();
        }
        while !self.ended {
            match self.table.after(self.from, &self.prefix) {
                Next::Batch(batch) => {
                    self.from = batch.revision;
                    return Poll::Ready(Some(Ok(batch)));
                }
                Next::Compacted => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(StoreError::Compacted)));
                }
                Next::Closed => self.ended = true,
                // A change between the check above and this poll wakes it: the receiver remembers the last version it
                // has seen.
                Next::Nothing => match Pin::new(&mut self.changed).poll_next(context) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) => self.ended = true,
                    Poll::Pending => {
                        ready!(tick);
                        return Poll::Ready(Some(Ok(Batch { revision: self.from, changes: Vec::new() })));
                    }
                },
            }
        }
        Poll::Ready(None)
    }
}
