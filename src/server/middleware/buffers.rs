//! How much the server holds of unfinished requests and of unread answers: a budget of the process ([`crate::limits`]), of
//! which each caller has a share, and each connection may hold a part of what is free.
//!
//! The part follows what is free ("dynamic thresholds", Choudhury and Hahne 1998): a single connection gets a fifth, a
//! hundred that take all they can leave a twenty-sixth free, and a newcomer a quarter of that. So the budget is never
//! used up, and no connection needs to be known to any other.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::authority::access::Exceeded;
use crate::authority::access::Limit;
use crate::limits::Hold;
use crate::limits::Share;

/// Which part of the free bytes one connection may hold.
const PART: usize = 4;

/// What is held for one connection.
#[derive(Debug)]
pub(in crate::server) struct Buffers {
    /// The share of the connection's peer, who reads the answers.
    reader: Arc<Share>,
    held: AtomicUsize,
    unread: AtomicUsize,
    /// How many pieces of answers have been read so far.
    read: AtomicUsize,
    /// An answer became unread where there was none.
    begun: Notify,
}

impl Buffers {
    /// Nothing yet. Unread answers count for the share of `reader`.
    pub(in crate::server) fn of(reader: Arc<Share>) -> Arc<Self> {
        let (held, unread, read) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { reader, held, unread, read, begun: Notify::new() })
    }

    /// A hold on bytes of the requests of a caller, of none yet.
    pub(in crate::server) fn hold(self: &Arc<Self>, share: &Arc<Share>) -> Held {
        Held { buffers: Arc::clone(self), hold: share.hold() }
    }

    /// Counts the bytes of an answer as held until the value is dropped, which is when they have been sent.
    pub(in crate::server) fn hold_unread(self: &Arc<Self>, bytes: usize) -> Unread {
        if self.unread.fetch_add(1, Ordering::Relaxed) == 0 {
            self.begun.notify_one();
        }
        let mut held = self.hold(&self.reader);
        self.held.fetch_add(bytes, Ordering::Relaxed);
        held.hold.add_anyway(bytes);
        Unread(held)
    }

    /// Completes when there have been unread answers for a while and none of them was read. `pause` waits for as long
    /// as that may last.
    pub(in crate::server) async fn stalled<P: Future<Output = ()>>(&self, pause: impl Fn() -> P) {
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
pub(in crate::server) struct Held {
    buffers: Arc<Buffers>,
    hold: Hold,
}

impl Held {
    /// Holds so many bytes more, if the caller and the connection may.
    pub(in crate::server) fn add(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let (held, share) = (&self.buffers.held, self.hold.share());
        if held.load(Ordering::Relaxed).saturating_add(bytes) > share.free_bytes() / PART {
            return Err(share.refused(Limit::BufferedBytes.into()));
        }
        self.hold.add(bytes)?;
        held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    #[cfg(test)]
    pub(in crate::server) fn free(&self) -> usize {
        self.hold.share().free_bytes()
    }

    /// Releases all but so many bytes.
    pub(in crate::server) fn keep(&mut self, bytes: usize) {
        let before = self.hold.bytes();
        self.hold.keep(bytes);
        self.buffers.held.fetch_sub(before.saturating_sub(self.hold.bytes()), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Bytes of an answer that has not been read.
#[derive(Debug)]
pub(in crate::server) struct Unread(Held);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.buffers.read.fetch_add(1, Ordering::Relaxed);
        self.0.buffers.unread.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::future::pending;
    use std::future::ready;
    use std::pin::pin;
    use std::task::Context;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::limits::CallerRole;
    use crate::limits::Callers;
    use crate::limits::Config;
    use crate::limits::Machine;
    use crate::limits::Shares;

    /// The share of a proxy, of a budget of so many bytes, which no share of a caller bounds further.
    pub(in crate::server::middleware) fn share(most: usize) -> Arc<Share> {
        // A proxy at one address has a quarter of what is buffered in this memory, and that is an eighth of it.
        let machine = Machine { memory_bytes: 1 << 40, cores: 1 };
        let (queue_delay, idle_after) = (Duration::from_millis(5), Duration::from_secs(30));
        let callers = Callers::new(Vec::new(), 10_000, machine);
        let config = Config { queue_delay, idle_after, buffered_bytes: most, callers };
        Shares::new(config, 10).share(None, CallerRole::Proxy, None)
    }

    /// Takes all that a connection may hold, in pieces.
    fn fill(share: &Arc<Share>) -> Held {
        let mut held = Buffers::of(Arc::clone(share)).hold(share);
        while held.add(100).is_ok() {}
        held
    }

    #[test]
    fn one_connection_gets_a_fifth_and_a_hundred_leave_room_for_another() {
        let share = share(1_000_000);
        let mut first = fill(&share);
        let bytes = first.hold.bytes();
        assert!((199_000..=200_000).contains(&bytes), "{bytes}");
        let others: Vec<Held> = (0..99).map(|_| fill(&share)).collect();
        let free = share.free_bytes();
        assert!(free > 0);
        // The first, which was alone, holds more than its part now, and gets nothing in addition.
        assert!(first.add(1).is_err());
        let mut newcomer = Buffers::of(Arc::clone(&share)).hold(&share);
        assert!(newcomer.add(free / PART + 1).is_err() && newcomer.add(free / PART).is_ok());
        drop((first, others));
        newcomer.keep(0);
        assert_eq!(share.free_bytes(), 1_000_000);
        assert!(newcomer.add(250_000).is_ok());
    }

    #[test]
    fn unread_answers_count_for_the_connection_and_its_peer_and_are_never_refused() {
        let share = share(1_000);
        let buffers = Buffers::of(Arc::clone(&share));
        let mut request = buffers.hold(&share);
        let unread = buffers.hold_unread(900);
        assert_eq!(share.free_bytes(), 100);
        assert!(request.add(1).is_err());
        drop(unread);
        assert_eq!(share.free_bytes(), 1_000);
        assert!(request.add(1).is_ok());
    }

    #[test]
    fn only_answers_of_which_none_is_read_for_a_while_are_a_stall() {
        let buffers = Buffers::of(share(1000));
        let mut context = Context::from_waker(Waker::noop());
        // Nothing is unread, for ever.
        assert!(pin!(buffers.stalled(|| ready(()))).as_mut().poll(&mut context).is_pending());
        let first = buffers.hold_unread(10);
        // The while is not over.
        assert!(pin!(buffers.stalled(pending::<()>)).as_mut().poll(&mut context).is_pending());
        drop(first);
        let (second, third) = (buffers.hold_unread(10), buffers.hold_unread(10));
        {
            // One is read in the meantime.
            let one = std::cell::Cell::new(Some(second));
            let pauses = std::cell::Cell::new(0);
            let mut stalled = pin!(buffers.stalled(|| {
                drop(one.take());
                pauses.set(pauses.get() + 1);
                ready(())
            }));
            assert!(stalled.as_mut().poll(&mut context).is_ready());
            assert_eq!(pauses.get(), 2);
        }
        drop(third);
        assert!(pin!(buffers.stalled(|| ready(()))).as_mut().poll(&mut context).is_pending());
    }
}
