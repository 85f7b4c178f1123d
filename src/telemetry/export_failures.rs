//! How often a collector did not take something.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::observe::Family;
use crate::authority::observe::labels;

/// Batches that were not delivered.
#[derive(Debug, Default)]
pub struct ExportFailures {
    traces: AtomicU64,
    metrics: AtomicU64,
}

impl ExportFailures {
    /// A batch of spans was lost. Returns how many were before.
    pub fn lost_spans(&self) -> u64 {
        self.traces.fetch_add(1, Ordering::Relaxed)
    }

    /// A snapshot of the measures was lost.
    pub fn lost_measures(&self) {
        self.metrics.fetch_add(1, Ordering::Relaxed);
    }

    /// Both as metrics.
    pub fn family(&self) -> Family {
        let samples = [("traces", &self.traces), ("metrics", &self.metrics)]
            .map(|(signal, count)| (labels([("signal", signal)]), count.load(Ordering::Relaxed)));
        Family::counters("lanyard_export_failures", "OTLP batches that were not delivered", samples)
    }
}
