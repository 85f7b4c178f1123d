//! A clock that breaks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;

/// A clock that panics once when it is told to.
#[derive(Debug)]
pub struct Fragile {
    clock: Arc<ManualClock>,
    broken: AtomicBool,
}

/// What the panic says.
pub const WORDS: &str = "the clock broke, as this test wants it";

impl Fragile {
    pub fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self { clock: Arc::clone(clock), broken: AtomicBool::default() })
    }

    /// The next one to look at it panics.
    pub fn arm(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Whether nobody has looked at it since.
    pub fn is_armed(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        assert!(!self.broken.swap(false, Ordering::SeqCst), "{WORDS}");
        self.clock.now()
    }
}
