//! Counts failed exports to the collector.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::observe::Family;
use crate::authority::observe::labels;

/// The numbers of batches that were not delivered.
#[derive(Debug, Default)]
pub struct ExportFailures {
    traces: AtomicU64,
    metrics: AtomicU64,
    logs: AtomicU64,
}

impl ExportFailures {
    /// Counts a lost batch of spans. Returns the number of batches lost before.
    pub fn lost_spans(&self) -> u64 {
        self.traces.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a lost snapshot of the metrics.
    pub fn lost_metrics(&self) {
        self.metrics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a batch of records of the audit trail that was sent in vain; it may be sent again.
    pub fn lost_logs(&self) {
        self.logs.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters as a metric family.
    pub fn family(&self) -> Family {
        let samples = [("traces", &self.traces), ("metrics", &self.metrics), ("logs", &self.logs)]
            .map(|(signal, count)| (labels([("signal", signal)]), count.load(Ordering::Relaxed)));
        Family::counters("lanyard_export_failures", "OTLP batches that were not delivered", samples)
    }
}
