//! What callers use of their shares, and what was refused, by role.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use strum::EnumCount as _;
use strum::VariantArray as _;

use crate::authority::access::Limit;
use crate::authority::access::Priority;
use crate::authority::observe::Durations;
use crate::authority::observe::Family;
use crate::authority::observe::labels;
use crate::limits::role::CallerRole;

/// The number of limits.
const LIMITS: usize = Limit::VARIANTS.len();

/// Counts by role and limit.
#[derive(Debug, Default)]
pub(super) struct Usage {
    used: [[AtomicUsize; LIMITS]; CallerRole::COUNT],
    refused: [[AtomicU64; LIMITS]; CallerRole::COUNT],
}

impl Usage {
    pub(super) fn add(&self, role: CallerRole, limit: Limit, amount: usize) {
        if let Some(used) = at(&self.used, role, limit) {
            used.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, role: CallerRole, limit: Limit, amount: usize) {
        if let Some(used) = at(&self.used, role, limit) {
            used.fetch_sub(amount, Ordering::Relaxed);
        }
    }

    pub(super) fn refused(&self, role: CallerRole, limit: Limit) {
        if let Some(refused) = at(&self.refused, role, limit) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The series. A rate has no use at a moment.
    pub(super) fn families(&self) -> [Family; 2] {
        let all =
            || CallerRole::VARIANTS.iter().flat_map(|role| Limit::VARIANTS.iter().map(move |limit| (*role, *limit)));
        let named = |(role, limit): (CallerRole, Limit)| labels([("role", role.label()), ("limit", limit.label())]);
        let used = all().filter(|(_, limit)| *limit != Limit::RequestsPerSecond).map(|of| {
            let used = at(&self.used, of.0, of.1).map_or(0, |used| used.load(Ordering::Relaxed));
            (named(of), u64::try_from(used).unwrap_or(u64::MAX))
        });
        let refused =
            all().map(|of| (named(of), at(&self.refused, of.0, of.1).map_or(0, |count| count.load(Ordering::Relaxed))));
        [
            Family::gauges("lanyard_limit_used", "What callers use of their shares", used),
            Family::counters("lanyard_limit_refused", "What was refused because a share was used up", refused),
        ]
    }
}

fn at<T>(table: &[[T; LIMITS]; CallerRole::COUNT], role: CallerRole, limit: Limit) -> Option<&T> {
    table.get(role as usize)?.get(limit as usize)
}

/// How long requests wait for their thread, and those that were refused because of it, of all threads.
#[derive(Debug, Default)]
pub struct Refusals {
    refused: [AtomicU64; Priority::COUNT],
    pub(super) delays: Durations,
}

impl Refusals {
    pub(super) fn add(&self, priority: Priority) {
        if let Some(refused) = self.refused.get(priority as usize) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The series.
    pub fn families(&self) -> [Family; 2] {
        let refused = Priority::VARIANTS.iter().zip(&self.refused);
        let refused =
            refused.map(|(priority, count)| (labels([("priority", priority.label())]), count.load(Ordering::Relaxed)));
        [
            Family::histograms(
                "lanyard_admission_delay_seconds",
                "How long what is ready waits for its serving thread",
                [(Vec::new(), self.delays.read())],
            ),
            Family::counters("lanyard_admission_refused", "Requests that were refused under overload", refused),
        ]
    }
}
