//! Where records of the audit trail go.

use std::fmt;

use crate::authority::observe::audit::record::AuditRecord;
use crate::authority::observe::audit::record::Severity;

/// Takes the records of the audit trail. It is called on the threads that serve, and must not block.
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Whether a record of this severity is wanted now. It is asked before the record is made: allowances come at the rate
    /// of the mesh's requests.
    fn wants(&self, severity: Severity) -> bool;

    /// Takes a record that is wanted.
    fn record(&self, record: AuditRecord);
}
