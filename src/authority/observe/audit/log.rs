//! The audit trail as lines of the log, under the target `lanyard::audit`. The subscriber escapes text from callers.

use tracing::Level;
use tracing::field::debug;
use tracing::field::display;

use crate::authority::observe::audit::record::AuditEvent;
use crate::authority::observe::audit::record::AuditOutcome;
use crate::authority::observe::audit::record::AuditRecord;
use crate::authority::observe::audit::record::Severity;
use crate::authority::observe::audit::sink::AuditSink;

/// The target by which the lines are filtered.
pub const AUDIT_TARGET: &str = "lanyard::audit";

/// Writes each record as one line. The subscriber adds the trace.
#[derive(Clone, Copy, Debug)]
pub struct LogSink;

/// Logs a line at the level of its severity.
macro_rules! line {
    ($record:ident, $($line:tt)*) => {
        match $record.severity {
            Severity::Debug => tracing::debug!(target: AUDIT_TARGET, $($line)*),
            Severity::Info => tracing::info!(target: AUDIT_TARGET, $($line)*),
            Severity::Warn => tracing::warn!(target: AUDIT_TARGET, $($line)*),
        }
    };
}

impl AuditSink for LogSink {
    fn wants(&self, severity: Severity) -> bool {
        match severity {
            Severity::Debug => tracing::enabled!(target: AUDIT_TARGET, Level::DEBUG),
            Severity::Info => tracing::enabled!(target: AUDIT_TARGET, Level::INFO),
            Severity::Warn => tracing::enabled!(target: AUDIT_TARGET, Level::WARN),
        }
    }

    fn record(&self, record: AuditRecord) {
        write(&record);
    }
}

/// The field names are part of the log format and do not change.
fn write(record: &AuditRecord) {
    let AuditRecord { reason, change, revision, .. } = record;
    let (actor, client_id, jti) = (record.actor.as_deref(), record.client_id.as_deref(), record.jti.as_deref());
    let (resource, cause, method) = (record.resource.as_deref(), record.cause.as_deref(), record.method.as_deref());
    let evidence = record.evidence.as_deref().map(display);
    let predecessor = record.predecessor.as_deref().map(display);
    let successor = record.successor.as_deref().map(display);
    let denied = record.outcome != AuditOutcome::Allowed;
    match record.event {
        AuditEvent::TokenIssued => {
            let (client_id, bound_to) = (client_id.map(display), record.bound_to.as_deref().map(display));
            line!(record, client_id, jti, bound_to, "token issued");
        }
        AuditEvent::TokenRefused => line!(record, peer = actor, client_id, reason, cause, "token refused"),
        AuditEvent::ClientRefused => line!(record, peer = actor, client_id, reason, cause, "client refused"),
        AuditEvent::RequestRefused => {
            let request = record.request.unwrap_or("request");
            line!(record, peer = actor, reason, cause, "{request} refused");
        }
        AuditEvent::CallNotAdmitted => {
            let (caller, cause) = (actor.map(display), cause.map(display));
            line!(record, caller, method, reason, cause, "a call was not admitted");
        }
        AuditEvent::StreamEnded => {
            let (caller, cause) = (actor.map(display), cause.map(display));
            line!(record, caller, method, reason, cause, "a stream was ended");
        }
        AuditEvent::HandshakeRefused => {
            line!(record, reason, cause = cause.map(display), "a handshake was refused");
        }
        AuditEvent::HandshakeFailed => line!(record, reason, cause, "a handshake failed"),
        AuditEvent::Introspected if denied => {
            line!(record, requester = actor.map(display), reason, "introspection denied");
        }
        AuditEvent::Introspected => {
            line!(record, requester = actor.map(display), client_id, jti, "introspection allowed");
        }
        AuditEvent::NotDecided => {
            line!(record, caller = actor.map(display), reason, cause = cause.map(display), "no decision");
        }
        AuditEvent::BindingDecided => {
            let caller = actor.map(display);
            let event = if denied { "binding denied" } else { "binding allowed" };
            line!(record, caller, resource, client_id, jti, shown = evidence, reason, "{event}");
        }
        AuditEvent::Checked => {
            let (proxy, method, path) = (actor.map(display), method.map(debug), record.path.as_deref().map(debug));
            let (cause, let_through) = (cause.map(display), denied.then_some(record.outcome == AuditOutcome::Reported));
            let event = if denied { "check denied" } else { "check allowed" };
            line!(
                record,
                proxy,
                resource,
                method,
                path,
                client_id,
                jti,
                shown = evidence,
                reason,
                cause,
                let_through,
                "{event}"
            );
        }
        AuditEvent::CheckUnread => line!(record, reason, "check denied"),
        AuditEvent::RotationAnnounced => {
            let event = if record.outcome == AuditOutcome::Denied {
                "a second successor was refused"
            } else {
                "rotation announced"
            };
            line!(record, spiffe_id = actor, predecessor, successor, "{event}");
        }
        AuditEvent::Revocation => {
            line!(record, by = actor, key = record.revoked.as_deref(), change, revision, "revocation");
        }
        AuditEvent::ResourceChanged => {
            line!(record, admin = actor, audience = resource, change, revision, "resource changed");
        }
        AuditEvent::ClientChanged => line!(record, admin = actor, client_id, change, revision, "client changed"),
    }
}
