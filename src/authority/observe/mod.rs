//! Metrics and the audit trail.

mod audit;
mod families;
mod handshake_error;
mod metrics;
mod refused_request;
mod reloads;
mod requests;

pub use crate::authority::observe::audit::AUDIT_TARGET;
pub use crate::authority::observe::audit::AuditEvent;
pub use crate::authority::observe::audit::AuditOutcome;
pub use crate::authority::observe::audit::AuditRecord;
pub use crate::authority::observe::audit::AuditSink;
pub use crate::authority::observe::audit::FoldedRefusals;
pub use crate::authority::observe::audit::LogSink;
pub use crate::authority::observe::audit::Severity;
pub(in crate::authority) use crate::authority::observe::audit::beginning;
pub(in crate::authority) use crate::authority::observe::audit::record_in_span;
pub use crate::authority::observe::families::BOUNDS;
pub use crate::authority::observe::families::Distribution;
pub use crate::authority::observe::families::Durations;
pub use crate::authority::observe::families::Family;
pub use crate::authority::observe::families::Labels;
pub use crate::authority::observe::families::MetricsReader;
pub use crate::authority::observe::families::Sample;
pub use crate::authority::observe::families::Samples;
pub use crate::authority::observe::families::labels;
pub use crate::authority::observe::handshake_error::HandshakeError;
pub use crate::authority::observe::handshake_error::HandshakeErrorCode;
pub use crate::authority::observe::metrics::Cache;
pub use crate::authority::observe::metrics::Lookup;
pub use crate::authority::observe::metrics::Metrics;
pub use crate::authority::observe::refused_request::RefusedRequest;
pub use crate::authority::observe::reloads::Reloaded;
pub use crate::authority::observe::reloads::Reloads;
pub use crate::authority::observe::requests::RequestOutcome;
pub use crate::authority::observe::requests::Requests;
