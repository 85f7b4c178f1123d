//! The lines of the log that wait to be written. The queue is bounded by their number and their size: when nobody reads
//! the log, lines are dropped and counted, and no thread that logs waits.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// The most lines that wait: a second of the log of a busy server.
const MAX_LINES: usize = 8192;

/// The most bytes that wait, 4 MiB: less than a hundredth of the memory that the chart gives a pod.
const MAX_BYTES: usize = 4 << 20;

/// How long the writer lets lines gather after the first one. To wake it for each line costs as much as to write it, on
/// the thread that logs.
const GATHERING: Duration = Duration::from_millis(2);

/// What a line of the log belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A record of the audit trail.
    Audit,
    /// Any other event.
    Other,
    /// The report of dropped lines. It is never dropped itself: there is one at a time.
    Gap,
}

/// The numbers of lines that were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Dropped {
    pub(super) audit: u64,
    pub(super) other: u64,
}

impl Dropped {
    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Audit => self.audit += 1,
            Kind::Other => self.other += 1,
            Kind::Gap => {}
        }
    }

    fn merge(&mut self, more: Self) {
        self.audit += more.audit;
        self.other += more.other;
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What the writer does next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It writes this line, and says how that ended.
    Write(Kind, Box<[u8]>),
    /// It reports that these lines are missing here, by [`LogQueue::push`] with [`Kind::Gap`].
    Report(Dropped),
}

/// The queue between the threads that log and the one that writes.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    state: Mutex<State>,
    /// Something came for the writer.
    filled: Condvar,
    /// The writer has nothing left to do.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Next>,
    /// The sum of the lengths of the lines.
    bytes: usize,
    /// Whether lines are dropped until half of the queue is free, so that a slow reader gets long runs of lines with few
    /// gaps.
    full: bool,
    /// All dropped lines since the start.
    dropped: Dropped,
    /// Those that no report covers yet.
    unreported: Dropped,
    /// Those of the report that is being written.
    reporting: Dropped,
    /// Whether the last line could not be written. A report could not either, and waits.
    failing: bool,
    writer: Writer,
}

/// What the writer does.
#[derive(Debug, Default, Eq, PartialEq)]
enum Writer {
    /// It looks for something to do, or has been told of it.
    #[default]
    Looking,
    /// It waits to be told of a line.
    Waiting,
    /// It is at work.
    Writing,
}

impl State {
    fn has_room(&self, length: usize) -> bool {
        self.entries.len() < MAX_LINES && self.bytes + length <= MAX_BYTES
    }

    fn is_half_empty(&self) -> bool {
        self.entries.len() <= MAX_LINES / 2 && self.bytes <= MAX_BYTES / 2
    }

    fn lose(&mut self, kind: Kind) {
        self.dropped.add(kind);
        self.unreported.add(kind);
    }

    /// What is to be reported, if a report can be written.
    fn take_gap(&mut self) -> Option<Dropped> {
        let due = !self.failing && !self.unreported.is_none();
        due.then(|| std::mem::take(&mut self.unreported))
    }

    fn is_done(&self) -> bool {
        self.entries.is_empty() && self.writer != Writer::Writing && (self.failing || self.unreported.is_none())
    }
}

impl LogQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it as dropped. It never waits for the writer.
    pub(super) fn push(&self, kind: Kind, line: &[u8]) {
        let mut state = self.state();
        if kind == Kind::Gap {
            state.bytes += line.len();
            state.entries.push_front(Next::Write(kind, line.into()));
            return;
        }
        state.full &= !state.is_half_empty();
        if state.full || !state.has_room(line.len()) {
            state.full = true;
            state.lose(kind);
            return;
        }
        if let Some(gap) = state.take_gap() {
            state.entries.push_back(Next::Report(gap));
        }
        state.bytes += line.len();
        state.entries.push_back(Next::Write(kind, line.into()));
        if state.writer == Writer::Waiting {
            state.writer = Writer::Looking;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits for the next thing to do.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            let next = state.entries.pop_front().or_else(|| state.take_gap().map(Next::Report));
            state.writer = if next.is_some() { Writer::Writing } else { Writer::Waiting };
            match next {
                Some(Next::Write(kind, line)) => {
                    state.bytes -= line.len();
                    return Next::Write(kind, line);
                }
                // It is reported with the first line that can be written again.
                Some(Next::Report(gap)) if state.failing => state.unreported.merge(gap),
                Some(Next::Report(gap)) => {
                    state.reporting = gap;
                    return Next::Report(gap);
                }
                None => {
                    self.written.notify_all();
                    let waited = self.filled.wait_while(state, |state| state.writer == Writer::Waiting);
                    let gathered = self.filled.wait_timeout(waited.unwrap_or_else(PoisonError::into_inner), GATHERING);
                    state = gathered.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Records how the writing of a line has ended. One that could not be written is dropped.
    pub(super) fn wrote(&self, kind: Kind, succeeded: bool) {
        let mut state = self.state();
        state.failing = !succeeded;
        let reported = if kind == Kind::Gap { std::mem::take(&mut state.reporting) } else { Dropped::default() };
        if !succeeded {
            state.lose(kind);
            state.unreported.merge(reported);
        }
    }

    /// Waits until everything is written, or cannot be, but not for longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let waited = self.written.wait_timeout_while(self.state(), limit, |state| !state.is_done());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The dropped lines since the start.
    pub(super) fn dropped(&self) -> Dropped {
        self.state().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(queue: &LogQueue) -> Option<(Kind, Box<[u8]>)> {
        match queue.next() {
            Next::Write(kind, line) => Some((kind, line)),
            Next::Report(_) => None,
        }
    }

    #[test]
    fn the_line_that_fills_the_queue_is_kept_and_the_next_one_is_dropped_by_its_kind() {
        let by_lines = LogQueue::default();
        (0..MAX_LINES).for_each(|_| by_lines.push(Kind::Other, b"x\n"));
        assert_eq!(by_lines.dropped(), Dropped::default());
        by_lines.push(Kind::Audit, b"x\n");
        assert_eq!(by_lines.dropped(), Dropped { audit: 1, other: 0 });
        let by_bytes = LogQueue::default();
        let half = vec![b'x'; MAX_BYTES / 2];
        (0..2).for_each(|_| by_bytes.push(Kind::Other, &half));
        assert_eq!(by_bytes.dropped(), Dropped::default());
        by_bytes.push(Kind::Other, b"\n");
        assert_eq!(by_bytes.dropped(), Dropped { audit: 0, other: 1 });
    }

    #[test]
    fn a_full_queue_takes_lines_again_once_half_of_it_is_free_and_the_gap_is_where_lines_are_missing() {
        let queue = LogQueue::default();
        (0..=MAX_LINES).for_each(|_| queue.push(Kind::Other, b"before\n"));
        for _ in 1..MAX_LINES / 2 {
            assert_eq!(line(&queue).unwrap().1.as_ref(), b"before\n");
            queue.wrote(Kind::Other, true);
        }
        queue.push(Kind::Audit, b"missing\n");
        let missing = Dropped { audit: 1, other: 1 };
        assert_eq!(queue.dropped(), missing);
        assert!(line(&queue).is_some());
        queue.push(Kind::Audit, b"after\n");
        assert_eq!(queue.dropped(), missing);
        for _ in 0..MAX_LINES / 2 {
            assert_eq!(line(&queue).unwrap().1.as_ref(), b"before\n");
        }
        assert_eq!(queue.next(), Next::Report(missing));
        queue.push(Kind::Gap, b"2 are missing\n");
        assert_eq!(line(&queue), Some((Kind::Gap, b"2 are missing\n".as_slice().into())));
        queue.wrote(Kind::Gap, true);
        assert_eq!(line(&queue), Some((Kind::Audit, b"after\n".as_slice().into())));
    }

    #[test]
    fn a_gap_after_the_last_line_is_reported_when_everything_is_written() {
        let queue = LogQueue::default();
        (0..MAX_LINES + 3).for_each(|_| queue.push(Kind::Other, b"x\n"));
        for _ in 0..MAX_LINES {
            assert!(line(&queue).is_some());
        }
        assert_eq!(queue.next(), Next::Report(Dropped { audit: 0, other: 3 }));
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_reported_with_the_first_one_that_can() {
        let queue = LogQueue::default();
        (0..3).for_each(|_| queue.push(Kind::Audit, b"lost\n"));
        for _ in 0..2 {
            assert!(line(&queue).is_some());
            queue.wrote(Kind::Audit, false);
        }
        // The third one is written, and so is the report; the second time it is the report that fails.
        assert!(line(&queue).is_some());
        queue.wrote(Kind::Audit, true);
        assert_eq!(queue.next(), Next::Report(Dropped { audit: 2, other: 0 }));
        queue.push(Kind::Gap, b"2 are missing\n");
        assert_eq!(line(&queue).unwrap().0, Kind::Gap);
        queue.wrote(Kind::Gap, false);
        queue.push(Kind::Other, b"next\n");
        assert_eq!(line(&queue).unwrap().0, Kind::Other);
        queue.wrote(Kind::Other, true);
        assert_eq!(queue.next(), Next::Report(Dropped { audit: 2, other: 0 }));
        assert_eq!(queue.dropped(), Dropped { audit: 2, other: 0 });
    }

    #[test]
    fn flushing_ends_at_its_limit_although_nobody_writes_and_at_once_when_nothing_waits() {
        let queue = LogQueue::default();
        queue.flush(Duration::MAX);
        queue.push(Kind::Other, b"x\n");
        queue.flush(Duration::from_millis(1));
        assert!(line(&queue).is_some());
    }
}
