//! The audit trail: an owned record of each grant, each denial and each change of a registration. It contains
//! thumbprints and names, never a token.

mod folded;
mod head;
mod log;
mod members;
mod record;
mod sink;
mod span;

pub use crate::authority::observe::audit::folded::FoldedRefusals;
pub use crate::authority::observe::audit::head::AUDIT_HEADS;
pub use crate::authority::observe::audit::head::AuditHead;
pub use crate::authority::observe::audit::log::AUDIT_TARGET;
pub use crate::authority::observe::audit::log::LogSink;
pub use crate::authority::observe::audit::members::Member;
pub use crate::authority::observe::audit::members::MemberName;
pub use crate::authority::observe::audit::record::AuditEvent;
pub use crate::authority::observe::audit::record::AuditOutcome;
pub use crate::authority::observe::audit::record::AuditRecord;
pub use crate::authority::observe::audit::record::Severity;
pub use crate::authority::observe::audit::sink::AuditSink;
pub(in crate::authority) use crate::authority::observe::audit::span::beginning;
pub(in crate::authority) use crate::authority::observe::audit::span::record_in_span;
