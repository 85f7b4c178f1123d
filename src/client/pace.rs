//! Intervals for renewals and retries. They are randomised, so that many workloads do not call at once.

use std::time::Duration;

/// The wait after a first failure. It doubles with each further failure,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// up to this.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The minimum time between two renewals, however short the token's lifetime.
const MIN_RENEWAL: Duration = Duration::from_millis(500);

/// How long after its issue a token with this lifetime is renewed: after about two thirds, at least three fifths and
/// less than three quarters.
pub(in crate::client) fn renewal(life: Duration) -> Duration {
    let share = 600 + random(134);
    (life / 1000).saturating_mul(share).max(MIN_RENEWAL)
}

/// How long to wait after this number of consecutive failures: between half of the bound and the bound.
pub(in crate::client) fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let bound = doubled.min(MAX_WAIT);
    bound / 1000 * (500 + random(501))
}

/// A random number below `bound`, which is at most 65536 and not 0.
pub(in crate::client) fn random(bound: u32) -> u32 {
    let mut bytes = [0; 2];
    // Without randomness the intervals are not spread, which is harmless.
    let _filled = aws_lc_rs::rand::fill(&mut bytes).is_ok();
    u32::from(u16::from_be_bytes(bytes)) % bound
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn renewals_are_randomised_around_two_thirds_of_a_tokens_life() {
        let drawn: HashSet<Duration> = (0..200).map(|_| renewal(Duration::from_mins(5))).collect();
        assert!(drawn.len() > 20, "{}", drawn.len());
        for wait in drawn {
            assert!(wait >= Duration::from_mins(3) && wait < Duration::from_secs(225), "{wait:?}");
        }
        assert_eq!(renewal(Duration::ZERO), MIN_RENEWAL);
    }

    #[test]
    fn waits_after_failures_grow_to_a_bound() {
        for (failures, bound) in [(1, 100), (2, 200), (3, 400), (6, 3200), (7, 5000), (8, 5000), (u32::MAX, 5000)] {
            for _ in 0..50 {
                let (wait, bound) = (backoff(failures), Duration::from_millis(bound));
                assert!(wait >= bound / 2 && wait <= bound, "{failures}: {wait:?}");
            }
        }
    }
}
