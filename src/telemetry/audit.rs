//! The audit trail with the traces of requests, which the core does not know.

use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::AuditSink;
use crate::authority::observe::Severity;
use crate::trace_context;

/// Adds to each record the trace of the request that is being answered.
#[derive(Clone, Copy, Debug)]
pub struct WithTrace<S>(pub S);

impl<S: AuditSink> AuditSink for WithTrace<S> {
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        self.0.wants(event, severity)
    }

    fn record(&self, record: AuditRecord) {
        let trace_id = trace_context::current_id().map(|id| id.to_string());
        self.0.record(record.in_trace(trace_id));
    }
}
