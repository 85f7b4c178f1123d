//! What one share holds at the moment.

use std::num::NonZero;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::InMemoryState;
use governor::state::NotKeyed;

use crate::authority::access::Exceeded;
use crate::authority::access::Limit;
use crate::limits::bounds::Bounds;

type Rate = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// How many seconds' requests may come at once.
const BURST_SECONDS: u32 = 2;

/// How long after its last request a rate is as if there had been none.
pub(super) const RECOVERED: Duration = Duration::from_secs(BURST_SECONDS as u64);

/// A counter with a largest value.
#[derive(Debug, Default)]
pub(super) struct Counted(AtomicUsize);

impl Counted {
    /// Adds, unless that would be more than `most`.
    pub(super) fn take(&self, amount: usize, most: usize) -> bool {
        let before = self.0.fetch_add(amount, Ordering::Relaxed);
        let fits = before.checked_add(amount).is_some_and(|sum| sum <= most);
        if !fits {
            self.release(amount);
        }
        fits
    }

    /// Adds, also beyond any largest value.
    pub(super) fn add(&self, amount: usize) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn release(&self, amount: usize) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// One share: that of an identity at an address, or of an identity.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) bounds: Bounds,
    pub(super) connections: Counted,
    pub(super) requests: Counted,
    pub(super) bytes: Counted,
    rate: Rate,
}

impl Level {
    pub(super) fn new(bounds: Bounds) -> Self {
        let rate = bounds.requests_per_second;
        let burst = NonZero::new(rate.get().saturating_mul(BURST_SECONDS)).unwrap_or(rate);
        let rate = RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), MonotonicClock);
        let (connections, requests, bytes) = (Counted::default(), Counted::default(), Counted::default());
        Self { bounds, connections, requests, bytes, rate }
    }

    /// Counts a request for the rate.
    pub(super) fn ask(&self) -> Result<(), Exceeded> {
        self.rate.check().map_err(|not_until| Exceeded {
            limit: Limit::RequestsPerSecond,
            retry_after: not_until.wait_time_from(MonotonicClock.now()),
        })
    }
}
