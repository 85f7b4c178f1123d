//! The present state in memory: entries, recent changes, watchers. Both backends answer reads and watches from it.

use std::collections::BTreeMap;
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

use futures_core::Stream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::authority::store::Change;
use crate::authority::store::ChangeStream;
use crate::authority::store::Expected;
use crate::authority::store::Listing;
use crate::authority::store::MAX_KEY_BYTES;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Versioned;

/// How many of the latest changes are kept for watchers. A watcher that falls behind further than this has to list
/// again: it holds a position in this window and nothing of its own, so a slow one costs no memory.
const WINDOW: usize = 4096;

/// An entry as it is held and handed out.
pub(super) type Entry = Versioned<Arc<[u8]>>;

/// One put (`value` is there) or delete (it is not).
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) expected: Expected,
}

/// What a write comes to, given what stands at its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Change,
    Unchanged,
    Conflict,
}

impl Write {
    /// A put, if key and value are within the port's limits.
    pub(super) fn put(key: &str, value: Vec<u8>, expected: Expected) -> Result<Self, StoreError> {
        at_most(MAX_KEY_BYTES, key.len())?;
        at_most(MAX_VALUE_BYTES, value.len())?;
        Ok(Self { key: key.to_owned(), value: Some(value.into()), expected })
    }

    /// A deletion, if the key is within the port's limits.
    pub(super) fn delete(key: &str, expected: Expected) -> Result<Self, StoreError> {
        at_most(MAX_KEY_BYTES, key.len())?;
        Ok(Self { key: key.to_owned(), value: None, expected })
    }

    /// How much there is of it.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }

    /// Judges this write against the revision of what stands at its key.
    pub(super) fn against(&self, present: Option<Revision>) -> Verdict {
        let as_expected = match self.expected {
            Expected::Any => true,
            Expected::Absent => present.is_none(),
            Expected::At(revision) => present == Some(revision),
        };
        match (as_expected, &self.value, present) {
            (false, _, _) => Verdict::Conflict,
            (true, None, None) => Verdict::Unchanged,
            (true, _, _) => Verdict::Change,
        }
    }
}

fn at_most(limit: usize, bytes: usize) -> Result<(), StoreError> {
    if bytes > limit { Err(StoreError::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// The state, shared between a store, its writer and its watchers.
pub(super) struct Table {
    state: RwLock<State>,
    moved: watch::Sender<()>,
}

struct State {
    entries: BTreeMap<String, Entry>,
    revision: Revision,
    /// The latest changes: their revisions are consecutive and end at `revision`.
    window: VecDeque<Change>,
    closed: bool,
}

impl Table {
    /// A table that holds `entries` as they stand at `revision`.
    pub(super) fn new(entries: BTreeMap<String, Entry>, revision: Revision) -> Self {
        let state = State { entries, revision, window: VecDeque::new(), closed: false };
        Self { state: RwLock::new(state), moved: watch::Sender::new(()) }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.read().entries.get(key).cloned()
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().revision
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let state = self.read();
        let entries = state
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        Listing { entries, revision: state.revision }
    }

    /// Makes `changes` visible to readers and watchers, all at once. Each has the revision after the one before it.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        let mut state = self.write();
        for change in changes {
            match &change.value {
                Some(value) => {
                    let entry = Versioned { value: Arc::clone(value), revision: change.revision };
                    state.entries.insert(change.key.clone(), entry);
                }
                None => {
                    state.entries.remove(&change.key);
                }
            }
            state.revision = change.revision;
            state.window.push_back(change);
            if state.window.len() > WINDOW {
                state.window.pop_front();
            }
        }
        drop(state);
        self.moved.send_replace(());
    }

    /// Ends all watches once they have seen what is there.
    pub(super) fn close(&self) {
        self.write().closed = true;
        self.moved.send_replace(());
    }

    pub(super) fn watch(self: &Arc<Self>, from: Revision) -> ChangeStream {
        let moved = WatchStream::new(self.moved.subscribe());
        Box::pin(Watcher { table: Arc::clone(self), from, moved, ended: false })
    }

    fn after(&self, from: Revision) -> Next {
        let state = self.read();
        // A revision from the future was not handed out by this store: whoever holds it knows another history.
        let Some(behind) = state.revision.0.checked_sub(from.0) else { return Next::Compacted };
        if behind == 0 {
            return if state.closed { Next::Closed } else { Next::Nothing };
        }
        let kept = state.window.len();
        let position = usize::try_from(behind).ok().and_then(|behind| kept.checked_sub(behind));
        match position.and_then(|position| state.window.get(position)) {
            Some(change) => Next::Change(change.clone()),
            None => Next::Compacted,
        }
    }

    // Nothing panics while it holds the lock, and every change to the state is whole: a poisoned lock is still good.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Table {
    /// Says how much there is, never what: values may be secret.
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
    Change(Change),
    Nothing,
    Compacted,
    Closed,
}

struct Watcher {
    table: Arc<Table>,
    from: Revision,
    moved: WatchStream<()>,
    ended: bool,
}

impl Stream for Watcher {
    type Item = Result<Change, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            match self.table.after(self.from) {
                Next::Change(change) => {
                    self.from = change.revision;
                    return Poll::Ready(Some(Ok(change)));
                }
                Next::Compacted => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(StoreError::Compacted)));
                }
                Next::Closed => self.ended = true,
                // What moves between the look above and this poll wakes it: the receiver remembers what it has seen.
                Next::Nothing => match Pin::new(&mut self.moved).poll_next(context) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) => self.ended = true,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        Poll::Ready(None)
    }
}
