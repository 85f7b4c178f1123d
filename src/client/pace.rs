//! How long to wait: spread, so that many workloads do not come at once.

use std::time::Duration;

/// The first wait after a failure; each one after it is twice as long,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Tokens are not renewed more often than this, however short they live.
const SHORTEST_LIFE: Duration = Duration::from_millis(500);

/// When to renew a token that lives this long: after about two thirds of it, three fifths at least and under three quarters.
pub(in crate::client) fn renewal(life: Duration) -> Duration {
    let share = 600 + chance(134);
    (life / 1000).saturating_mul(share).max(SHORTEST_LIFE)
}

/// How long to wait after so many failures in a row: between half of the bound and the bound.
pub(in crate::client) fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let bound = doubled.min(LONGEST_WAIT);
    bound / 1000 * (500 + chance(501))
}

/// A number below `bound`, which is 65536 at most.
fn chance(bound: u32) -> u32 {
    let mut bytes = [0; 2];
    // Without chance there is no spread, which is a pity and no danger.
    let _filled = aws_lc_rs::rand::fill(&mut bytes).is_ok();
    u32::from(u16::from_be_bytes(bytes)) % bound
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn renewals_are_spread_around_two_thirds_of_a_tokens_life() {
        let drawn: HashSet<Duration> = (0..200).map(|_| renewal(Duration::from_mins(5))).collect();
        assert!(drawn.len() > 20, "{}", drawn.len());
        for wait in drawn {
            assert!(wait >= Duration::from_mins(3) && wait < Duration::from_secs(225), "{wait:?}");
        }
        assert_eq!(renewal(Duration::ZERO), SHORTEST_LIFE);
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
