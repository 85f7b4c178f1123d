//! How much the server holds of unfinished requests and of unread answers: a budget of the process, of which each
//! connection may hold a part of what is free.
//!
//! The part follows what is free ("dynamic thresholds", Choudhury and Hahne 1998): a single connection gets a fifth, a
//! hundred that take all they can leave a twenty-sixth free, and a newcomer a quarter of that. So the budget is never
//! used up, and no connection needs to be known to any other.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

/// Which part of the free bytes one connection may hold.
const PART: usize = 4;

/// The budget of the process, in bytes.
#[derive(Debug)]
pub(super) struct Memory {
    most: usize,
    held: AtomicUsize,
}

impl Memory {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0) })
    }
}

/// What is held for one connection.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    held: AtomicUsize,
    unread: AtomicUsize,
    /// How many pieces of answers have been read so far.
    read: AtomicUsize,
    /// An answer became unread where there was none.
    begun: Notify,
}

impl Share {
    pub(super) fn of(memory: &Arc<Memory>) -> Arc<Self> {
        let memory = Arc::clone(memory);
        let (held, unread, read) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { memory, held, unread, read, begun: Notify::new() })
    }

    /// Whether the connection may hold these bytes in addition.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let free = self.memory.most.saturating_sub(self.memory.held.load(Ordering::Relaxed));
        self.held.load(Ordering::Relaxed).saturating_add(bytes) <= free / PART
    }

    /// Counts bytes as held until the value is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        let mut held = Held { share: Arc::clone(self), bytes: 0 };
        held.add(bytes);
        held
    }

    /// Counts the bytes of an answer as held until the value is dropped, which is when they have been sent.
    pub(super) fn hold_unread(self: &Arc<Self>, bytes: usize) -> Unread {
        if self.unread.fetch_add(1, Ordering::Relaxed) == 0 {
            self.begun.notify_one();
        }
        Unread(self.hold(bytes))
    }

    /// Completes when there have been unread answers for a while and none of them was read. `pause` waits for as long
    /// as that may last.
    pub(super) async fn stalled<P: Future<Output = ()>>(&self, pause: impl Fn() -> P) {
        loop {
            self.begun.notified().await;
            while self.unread.load(Ordering::Relaxed) > 0 {
                let read = self.read.load(Ordering::Relaxed);
                pause().await;
                if self.unread.load(Ordering::Relaxed) > 0 && self.read.load(Ordering::Relaxed) == read {
                    return;
                }
            }
        }
    }
}

/// Bytes that are held for a connection.
#[derive(Debug)]
pub(super) struct Held {
    share: Arc<Share>,
    bytes: usize,
}

impl Held {
    pub(super) fn add(&mut self, bytes: usize) {
        self.share.held.fetch_add(bytes, Ordering::Relaxed);
        self.share.memory.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn release(&mut self) {
        self.share.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.share.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }

    pub(super) fn share(&self) -> &Share {
        &self.share
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes of an answer that has not been read.
#[derive(Debug)]
pub(super) struct Unread(Held);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.share.read.fetch_add(1, Ordering::Relaxed);
        self.0.share.unread.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::future::ready;
    use std::pin::pin;
    use std::task::Context;
    use std::task::Waker;

    use super::*;

    /// Takes all that a connection may hold, in pieces.
    fn fill(memory: &Arc<Memory>) -> Held {
        let share = Share::of(memory);
        let mut held = share.hold(0);
        while share.has_room(100) {
            held.add(100);
        }
        held
    }

    #[test]
    fn one_connection_gets_a_fifth_and_a_hundred_leave_room_for_another() {
        let memory = Memory::new(1_000_000);
        let first = fill(&memory);
        assert!((199_000..=200_000).contains(&first.bytes), "{}", first.bytes);
        let others: Vec<Held> = (0..99).map(|_| fill(&memory)).collect();
        let held = memory.held.load(Ordering::Relaxed);
        assert!(held < 1_000_000, "{held}");
        // The first, which was alone, holds more than its part now, and gets nothing in addition.
        assert!(!first.share.has_room(1));
        let newcomer = Share::of(&memory);
        assert!(newcomer.has_room((1_000_000 - held) / PART) && !newcomer.has_room((1_000_000 - held) / PART + 1));
        drop((first, others));
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
        assert!(newcomer.has_room(250_000));
    }

    #[test]
    fn only_answers_of_which_none_is_read_for_a_while_are_a_stall() {
        let share = Share::of(&Memory::new(1000));
        let mut context = Context::from_waker(Waker::noop());
        // Nothing is unread, for ever.
        assert!(pin!(share.stalled(|| ready(()))).as_mut().poll(&mut context).is_pending());
        let first = share.hold_unread(10);
        // The while is not over.
        assert!(pin!(share.stalled(pending::<()>)).as_mut().poll(&mut context).is_pending());
        drop(first);
        let (second, third) = (share.hold_unread(10), share.hold_unread(10));
        {
            // One is read in the meantime.
            let one = std::cell::Cell::new(Some(second));
            let pauses = std::cell::Cell::new(0);
            let mut stalled = pin!(share.stalled(|| {
                drop(one.take());
                pauses.set(pauses.get() + 1);
                ready(())
            }));
            assert!(stalled.as_mut().poll(&mut context).is_ready());
            assert_eq!(pauses.get(), 2);
        }
        drop(third);
        assert!(pin!(share.stalled(|| ready(()))).as_mut().poll(&mut context).is_pending());
    }
}
