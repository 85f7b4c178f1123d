//! What one destination of the trail has yet to get. Its lines wait in a bounded queue for a thread of its own, so that no
//! destination keeps another from its lines, and none keeps a request waiting.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::telemetry::trail::chain::Gap;
use crate::telemetry::trail::lines::Line;
use crate::telemetry::trail::lines::Lines;

/// The most lines that wait, and the most bytes of them.
const MAX_LINES: usize = 16_384;
const MAX_BYTES: usize = 16 << 20;

/// The most lines that are delivered together, and the most bytes: collectors take 4 MiB by default, of which what is sent
/// with each line takes some. What is pushed together is about as much.
pub(super) const BATCH: (usize, usize) = (4096, 2 << 20);

/// How long a destination that fails is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes or sends lines. It is called by the thread of its destination alone, and may block.
pub(super) trait Deliver: Send + 'static {
    /// Delivers lines, which follow one another in the chain.
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered>;
}

/// Why lines were not delivered.
#[derive(Debug)]
pub(super) enum NotDelivered {
    /// They are tried again.
    Yet(String),
    /// They are lost, but for what was delivered.
    Ever(String, Delivered),
}

/// What was delivered of a batch that is not tried again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivered {
    /// So many of its first lines.
    First(usize),
    /// All but so many, and it is not known which these are.
    AllBut(u64),
}

impl Delivered {
    pub(super) const NOTHING: Self = Self::First(0);
}

/// How many lines were written, and how many will not be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) written: u64,
    pub(super) lost: u64,
}

/// A destination of the trail.
#[derive(Debug)]
pub(super) struct Destination {
    name: &'static str,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Lines>>,
    /// How many lines wait.
    count: usize,
    /// The sum of the lengths of the waiting lines.
    bytes: usize,
    /// Whether lines are lost until half of the queue is free, so that there are few gaps.
    is_full: bool,
    /// Whether the last delivery failed.
    is_failing: bool,
    /// What was lost and is in no line of the chain yet.
    gaps: Vec<Gap>,
    counts: Counts,
    /// The last line that was delivered, and when.
    last: Option<(Line, Timestamp)>,
    end: End,
}

/// How far the end of the chain has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum End {
    #[default]
    Open,
    /// There are no further lines.
    Closing,
    /// The thread has ended.
    Closed,
}

impl State {
    fn has_room(&self, lines: &Lines) -> bool {
        self.count + lines.count() <= MAX_LINES && self.bytes + lines.text().len() <= MAX_BYTES
    }

    fn is_half_empty(&self) -> bool {
        self.count <= MAX_LINES / 2 && self.bytes <= MAX_BYTES / 2
    }

    /// Keeps in mind that lines, which follow one another, are to be told as not delivered.
    fn lose(&mut self, destination: &str, lines: &[Line]) {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
        let (before, number, hash) = (first.previous.to_text(), last.about.sequence, last.hash.to_text());
        match self.gaps.last_mut() {
            Some(gap) if gap.hash == before => (gap.last, gap.hash) = (number, hash),
            Some(_) | None => {
                let (destination, first) = (destination.to_owned(), first.about.sequence);
                self.gaps.push(Gap { destination, first, last: number, before, hash });
            }
        }
    }

    fn take_batch(&mut self) -> Vec<Arc<Lines>> {
        let (mut batch, mut count, mut bytes) = (Vec::new(), 0, 0);
        let (max_count, max_bytes) = BATCH;
        while let Some(next) = self.waiting.front()
            && (batch.is_empty() || (count + next.count() <= max_count && bytes + next.text().len() <= max_bytes))
            && let Some(lines) = self.waiting.pop_front()
        {
            count += lines.count();
            bytes += lines.text().len();
            batch.push(lines);
        }
        self.count -= count;
        self.bytes -= bytes;
        batch
    }
}

impl Destination {
    /// A destination that has the first line of the chain already.
    pub(super) fn new(name: &'static str, clock: Arc<dyn Clock>, first: Option<Line>) -> Self {
        let counts = Counts { written: u64::from(first.is_some()), lost: 0 };
        let last = first.map(|line| (line, clock.now()));
        let state = State { counts, last, ..State::default() };
        Self { name, clock, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Starts the thread that delivers.
    pub(super) fn start(self: &Arc<Self>, mut by: impl Deliver) -> io::Result<()> {
        let destination = Arc::clone(self);
        let name = format!("lanyard-audit-{}", self.name);
        thread::Builder::new().name(name).spawn(move || destination.run(&mut by)).map(drop)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The last line that was delivered, and when.
    pub(super) fn last(&self) -> Option<(Line, Timestamp)> {
        self.state().last
    }

    /// Adds lines, or counts all of them as lost. It never waits.
    pub(super) fn push(&self, lines: &Arc<Lines>) {
        let mut state = self.state();
        state.is_full &= !state.is_half_empty();
        if state.end == End::Closed || state.is_full || !state.has_room(lines) {
            state.is_full = true;
            state.counts.lost += lines.count() as u64;
            state.lose(self.name, lines.all());
            return;
        }
        state.count += lines.count();
        state.bytes += lines.text().len();
        state.waiting.push_back(Arc::clone(lines));
        drop(state);
        self.changed.notify_all();
    }

    /// What was lost and is not in the chain yet, once lines are delivered again: the line that says so would be lost, too.
    pub(super) fn take_gaps(&self, is_end: bool) -> Vec<Gap> {
        let mut state = self.state();
        let is_over = !state.is_failing && (!state.is_full || state.is_half_empty());
        if is_over || is_end { mem::take(&mut state.gaps) } else { Vec::new() }
    }

    /// Lets the thread end when it has delivered what waits, or cannot.
    pub(super) fn close(&self) {
        self.state().end = End::Closing;
        self.changed.notify_all();
    }

    /// Waits for the end of the thread, but not for longer than `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let waited = self.changed.wait_timeout_while(self.state(), limit, |state| state.end != End::Closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, by: &mut impl Deliver) {
        while let Some(batch) = self.next() {
            let mut outcome = by.deliver(&batch);
            while let Err(NotDelivered::Yet(error)) = &outcome {
                if self.fails(error) {
                    // The server ends, and this was the last attempt.
                    outcome = Err(NotDelivered::Ever(error.clone(), Delivered::NOTHING));
                } else {
                    outcome = by.deliver(&batch);
                }
            }
            self.delivered(&batch, outcome);
        }
        self.state().end = End::Closed;
        self.changed.notify_all();
    }

    /// Waits for lines; `None` at the end.
    fn next(&self) -> Option<Vec<Arc<Lines>>> {
        let waited = self.changed.wait_while(self.state(), |state| state.waiting.is_empty() && state.end == End::Open);
        let batch = waited.unwrap_or_else(PoisonError::into_inner).take_batch();
        (!batch.is_empty()).then_some(batch)
    }

    /// Waits after a failure, or until the server ends. Returns whether it ends.
    fn fails(&self, error: &str) -> bool {
        let mut state = self.state();
        self.log(&mut state, Some(error));
        let waited = self.changed.wait_timeout_while(state, PAUSE, |state| state.end == End::Open);
        waited.unwrap_or_else(PoisonError::into_inner).0.end != End::Open
    }

    fn delivered(&self, batch: &[Arc<Lines>], outcome: Result<(), NotDelivered>) {
        let mut state = self.state();
        let count = batch.iter().map(|lines| lines.count() as u64).sum::<u64>();
        let (error, delivered) = match outcome {
            Ok(()) => {
                self.log(&mut state, None);
                state.counts.written += count;
                state.last = batch.last().and_then(|lines| lines.last()).map(|line| (*line, self.clock.now()));
                return;
            }
            Err(NotDelivered::Yet(error)) => (error, Delivered::NOTHING),
            Err(NotDelivered::Ever(error, delivered)) => (error, delivered),
        };
        self.log(&mut state, Some(&error));
        let (mut first, lost) = match delivered {
            Delivered::First(first) => (first, count - first as u64),
            // What is told is the most that may be missing.
            Delivered::AllBut(lost) => (0, lost.min(count)),
        };
        state.counts.lost += lost;
        state.counts.written += count - lost;
        for lines in batch {
            state.lose(self.name, lines.all().get(first..).unwrap_or_default());
            first = first.saturating_sub(lines.count());
        }
    }

    /// Logs the first failure, and the end of failing.
    fn log(&self, state: &mut State, error: Option<&str>) {
        let destination = self.name;
        match error {
            Some(error) if !state.is_failing => {
                tracing::error!(destination, error, "the audit trail cannot be written there");
            }
            None if state.is_failing => tracing::warn!(destination, "the audit trail is written there again"),
            Some(_) | None => {}
        }
        state.is_failing = error.is_some();
    }
}

#[cfg(test)]
mod tests;
