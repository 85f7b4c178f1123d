//! A clock that panics on demand.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;

/// A clock that panics when a test says so: once in a thread that serves requests, or always in other threads.
#[derive(Debug)]
pub struct PanickingClock {
    clock: Arc<ManualClock>,
    broken: AtomicBool,
    broken_beside: AtomicBool,
}

/// The text of the panic.
pub const WORDS: &str = "the clock broke, as this test wants it";

impl PanickingClock {
    pub fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        let (broken, broken_beside) = (AtomicBool::default(), AtomicBool::default());
        Arc::new(Self { clock: Arc::clone(clock), broken, broken_beside })
    }

    /// Sets whether it panics in all threads that do not serve requests.
    pub fn break_background(&self, broken: bool) {
        self.broken_beside.store(broken, Ordering::SeqCst);
    }

    /// Makes the next read during a request panic.
    pub fn arm(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Whether it has not been read since.
    pub fn is_armed(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        // Metrics are read on a blocking thread of the runtime.
        let serving = ["lanyard-serve", "tokio-rt-worker"];
        let serves = thread::current().name().is_some_and(|name| serving.iter().any(|one| name.starts_with(one)));
        let broken =
            if serves { self.broken.swap(false, Ordering::SeqCst) } else { self.broken_beside.load(Ordering::SeqCst) };
        assert!(!broken, "{WORDS}");
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}
