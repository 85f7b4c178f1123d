//! What is told to collectors.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::measures::Family;
use crate::authority::measures::labels;

/// Batches that were not delivered.
#[derive(Debug, Default)]
pub struct ExportFailures {
    traces: AtomicU64,
    metrics: AtomicU64,
}

impl ExportFailures {
    /// A batch of spans was lost.
    pub fn traces(&self) {
        self.traces.fetch_add(1, Ordering::Relaxed);
    }

    /// A snapshot of the measures was lost.
    pub fn metrics(&self) {
        self.metrics.fetch_add(1, Ordering::Relaxed);
    }

    /// Both as measures.
    pub fn family(&self) -> Family {
        let samples = [("traces", &self.traces), ("metrics", &self.metrics)]
            .map(|(signal, count)| (labels([("signal", signal)]), count.load(Ordering::Relaxed)));
        Family::counters("lanyard_export_failures", "OTLP batches that were not delivered", samples)
    }
}
