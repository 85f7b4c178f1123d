//! The destination of audit records.

use std::fmt;
use std::sync::Arc;

use crate::authority::observe::audit::record::AuditEvent;
use crate::authority::observe::audit::record::AuditRecord;
use crate::authority::observe::audit::record::Severity;

/// Receives the records of the audit trail. It is called on the threads that serve requests, and must not block.
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Whether a record of this event and severity is wanted now. It is called before the record is built: allowances occur
    /// at the rate of the mesh's requests.
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool;

    /// Receives a record that is wanted.
    fn record(&self, record: &AuditRecord);
}

impl<S: AuditSink + ?Sized> AuditSink for Arc<S> {
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        (**self).wants(event, severity)
    }

    fn record(&self, record: &AuditRecord) {
        (**self).record(record);
    }
}
