//! Time and randomness, passed in so that tests control both.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::rand::SystemRandom;
use serde::Deserialize;
use serde::Serialize;

/// Seconds since 1970-01-01T00:00:00Z: RFC 7519's `NumericDate`, with the same resolution as a certificate's validity.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `span` after this one. It saturates rather than wraps around.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// The moment `span` before this one; not before 1970.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// The duration from this moment to `later`: zero where that is not later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// The time since some moment before this process started. It does not go back when the time is set, and goes on
    /// while the machine sleeps.
    fn elapsed(&self) -> Duration;
}

/// The system clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        // A system clock before 1970 reads as 0: no certificate is valid then, so no peer is accepted.
        Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    fn elapsed(&self) -> Duration {
        let elapsed = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(elapsed).unwrap_or_default()
    }
}

/// A clock that only moves when it is set.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that reads `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Sets the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forwards by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills all of `bytes`, or fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The source of randomness failed. The operation that needs it must fail too.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the source of random bytes failed")]
pub struct NoEntropy;

/// The random bytes of the operating system. Those of identifiers come out of a reserve: to ask the generator for sixteen
/// bytes takes it as long as for hundreds.
#[derive(Default)]
pub struct SystemEntropy {
    generator: SystemRandom,
    reserve: Mutex<Reserve>,
}

/// Random bytes that nobody has got yet.
#[derive(Default)]
struct Reserve(Vec<u8>);

/// How many bytes are asked for at once, and how many at most are handed out of them: what is longer may be a key.
const RESERVED_BYTES: usize = 512;
const IDENTIFIER_BYTES: usize = 16;

impl Reserve {
    /// Hands out bytes, each once.
    fn take(&mut self, bytes: &mut [u8], generator: &SystemRandom) -> Result<(), NoEntropy> {
        if self.0.len() < bytes.len() {
            let mut fresh = vec![0; RESERVED_BYTES];
            generator.fill(&mut fresh).map_err(|_| NoEntropy)?;
            self.0 = fresh;
        }
        let left = self.0.len() - bytes.len();
        bytes.iter_mut().zip(self.0.drain(left..)).for_each(|(to, byte)| *to = byte);
        Ok(())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        if bytes.len() > IDENTIFIER_BYTES {
            return self.generator.fill(bytes).map_err(|_| NoEntropy);
        }
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, &self.generator)
    }
}

impl fmt::Debug for SystemEntropy {
    /// Without the bytes, which may become secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SystemEntropy").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    fn drawn(entropy: &SystemEntropy, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        entropy.fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn no_identifier_is_handed_out_twice() {
        let entropy = SystemEntropy::default();
        let some = || (0..1000).map(|_| drawn(&entropy, IDENTIFIER_BYTES)).collect::<Vec<_>>();
        let all: HashSet<Vec<u8>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.len(), 4000);
    }

    #[test]
    fn bytes_of_each_length_are_filled_anew() {
        let entropy = SystemEntropy::default();
        for length in [8, 15, IDENTIFIER_BYTES, IDENTIFIER_BYTES + 1, RESERVED_BYTES, 2 * RESERVED_BYTES] {
            let (one, other) = (drawn(&entropy, length), drawn(&entropy, length));
            assert_ne!(one, other);
            // Of so many random bytes not all are zero at the end, or at the beginning.
            assert!(one[length - 8..] != [0; 8] && one[..8] != [0; 8], "{length}");
        }
        assert!(drawn(&entropy, 0).is_empty());
    }
}
