//! A clock that breaks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;

/// A clock that panics when it is told to: once for those who serve requests, or always for what runs beside them.
#[derive(Debug)]
pub struct PanickingClock {
    clock: Arc<ManualClock>,
    broken: AtomicBool,
    broken_beside: AtomicBool,
}

/// What the panic says.
pub const WORDS: &str = "the clock broke, as this test wants it";

impl PanickingClock {
    pub fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        let (broken, broken_beside) = (AtomicBool::default(), AtomicBool::default());
        Arc::new(Self { clock: Arc::clone(clock), broken, broken_beside })
    }

    /// Whether it is broken for all that runs beside the requests.
    pub fn break_beside(&self, broken: bool) {
        self.broken_beside.store(broken, Ordering::SeqCst);
    }

    /// The next one to look at it for a request panics.
    pub fn arm(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Whether nobody has looked at it since.
    pub fn is_armed(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        // The page of metrics is read on a thread of the runtime's for what takes its time.
        let serving = ["lanyard-serve", "tokio-rt-worker"];
        let serves = thread::current().name().is_some_and(|name| serving.iter().any(|one| name.starts_with(one)));
        let broken =
            if serves { self.broken.swap(false, Ordering::SeqCst) } else { self.broken_beside.load(Ordering::SeqCst) };
        assert!(!broken, "{WORDS}");
        self.clock.now()
    }
}
