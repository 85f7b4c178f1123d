//! How far a long command has come: a line on stderr that is written over, where that is a terminal, and nothing otherwise.

use std::cell::Cell;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;

/// The line of one command. It appears after a second, changes once in a second at most, and goes when this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    /// What is done to the records, such as `imported`.
    done: &'static str,
    /// How many there are, if that is known.
    of: Option<usize>,
    is_terminal: bool,
    /// When it changed.
    last: Cell<Timestamp>,
    is_shown: Cell<bool>,
}

impl Progress {
    pub(in crate::cli) fn new(done: &'static str, of: Option<usize>) -> Self {
        let (is_terminal, last) = (io::stderr().is_terminal(), Cell::new(SystemClock.now()));
        Self { done, of, is_terminal, last, is_shown: Cell::new(false) }
    }

    /// So many records are done.
    pub(in crate::cli) fn at(&self, count: usize) {
        if self.is_terminal && self.is_due(SystemClock.now()) {
            // Ignore errors writing to stderr.
            let _written = write!(io::stderr().lock(), "\r{}\u{1b}[K", self.line(count)).is_ok();
            self.is_shown.set(true);
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.last.replace(now) != now
    }

    fn line(&self, count: usize) -> String {
        let of = self.of.map(|of| format!(" of {of}")).unwrap_or_default();
        format!("{count}{of} records {}", self.done)
    }
}

/// Shows how many of so many are done while this work goes on, once in a second.
pub(in crate::cli) async fn shown<T>(
    (verb, of): (&'static str, usize),
    done: &AtomicUsize,
    work: impl Future<Output = T>,
) -> T {
    let progress = Progress::new(verb, Some(of));
    let mut work = pin!(work);
    loop {
        tokio::select! {
            finished = &mut work => return finished,
            () = sleep(Duration::from_secs(1)) => progress.at(done.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown.get() {
            // Ignore errors writing to stderr.
            let _written = write!(io::stderr().lock(), "\r\u{1b}[K").is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_shown_ends_with_the_work_and_is_its_outcome() {
        let done = AtomicUsize::new(0);
        let work = async {
            tokio::task::yield_now().await;
            done.fetch_add(1, Ordering::Relaxed) + 7
        };
        assert_eq!(shown(("written", 1), &done, work).await, 7);
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_line_changes_once_in_a_second_and_not_in_the_first_one() {
        let progress = Progress::new("imported", Some(40));
        progress.last.set(Timestamp(7));
        assert!(!progress.is_due(Timestamp(7)) && progress.is_due(Timestamp(8)) && !progress.is_due(Timestamp(8)));
        assert_eq!(progress.line(3), "3 of 40 records imported");
        assert_eq!(Progress::new("exported", None).line(3), "3 records exported");
    }
}
