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
    fn wants(&self, _event: AuditEvent, severity: Severity) -> bool {
        match severity {
            Severity::Debug => tracing::enabled!(target: AUDIT_TARGET, Level::DEBUG),
            Severity::Info => tracing::enabled!(target: AUDIT_TARGET, Level::INFO),
            Severity::Warn => tracing::enabled!(target: AUDIT_TARGET, Level::WARN),
        }
    }

    fn record(&self, record: &AuditRecord) {
        match record.repeated {
            Some(count) => write_repeated(record, count),
            None => write(record),
        }
    }
}

/// The line for refusals that have none of their own.
fn write_repeated(record: &AuditRecord, count: u64) {
    let event: &str = record.event.into();
    let (caller, client_id) = (record.actor.as_deref().map(display), record.client_id.as_deref());
    let (shown, remote) = (record.evidence.as_deref().map(display), record.remote.as_deref().map(display));
    let AuditRecord { reason, request, .. } = record;
    let what = if record.event == AuditEvent::AdminRead { "reads" } else { "refusals" };
    let method = record.method.as_deref().map(display);
    line!(
        record,
        repeated = count,
        event,
        caller,
        reason,
        request,
        client_id,
        shown,
        remote,
        method,
        "{count} more such {what} since the last line of them"
    );
}

/// The field names are part of the log format and do not change. New fields are added at the end. Those of the
/// connection are in the lines of refusals only.
#[expect(clippy::too_many_lines, reason = "one table")]
fn write(record: &AuditRecord) {
    let AuditRecord { reason, change, revision, listener, .. } = record;
    let (actor, client_id, jti) = (record.actor.as_deref(), record.client_id.as_deref(), record.jti.as_deref());
    let (resource, cause, method) = (record.resource.as_deref(), record.cause.as_deref(), record.method.as_deref());
    let (remote, certificate) = (record.remote.as_deref().map(display), record.certificate.as_deref().map(display));
    let (subject, registration) = (record.subject.as_deref(), record.registration.as_deref());
    let (evidence, reference) = (record.evidence.as_deref().map(display), record.reference.map(display));
    let denied = record.outcome != AuditOutcome::Allowed;
    // The fields of the event, and then those of the connection.
    macro_rules! refusal {
        ($($field:ident $(= $value:expr)?),*; $($message:tt)*) => {
            line!(record, $($field $(= $value)?,)* remote, listener, certificate, subject, reference, $($message)*)
        };
    }
    match record.event {
        AuditEvent::TokenIssued => {
            let (client_id, bound_to) = (client_id.map(display), record.bound_to.as_deref().map(display));
            line!(record, client_id, jti, bound_to, registration, revision, "token issued");
        }
        AuditEvent::TokenRefused => {
            refusal!(peer = actor, client_id, reason, cause, resource, registration; "token refused");
        }
        AuditEvent::TokenExchanged => token_exchanged(record),
        AuditEvent::ExchangeRefused => {
            refusal!(peer = actor, client_id, reason, cause, resource, registration; "exchange refused");
        }
        AuditEvent::ClientRefused => refusal!(peer = actor, client_id, reason, cause; "client refused"),
        AuditEvent::RequestRefused => {
            let request = record.request.unwrap_or("request");
            refusal!(peer = actor, reason, cause; "{request} refused");
        }
        AuditEvent::CallNotAdmitted => {
            let (caller, cause) = (actor.map(display), cause.map(display));
            refusal!(caller, method, reason, cause; "a call was not admitted");
        }
        AuditEvent::StreamEnded => {
            let (caller, cause) = (actor.map(display), cause.map(display));
            refusal!(caller, method, reason, cause; "a stream was ended");
        }
        AuditEvent::HandshakeRefused => {
            let (cause, spiffe_id) = (cause.map(display), record.spiffe_id.as_deref());
            refusal!(reason, cause, spiffe_id; "a handshake was refused");
        }
        AuditEvent::HandshakeFailed => {
            refusal!(reason, cause, spiffe_id = record.spiffe_id.as_deref(); "a handshake failed");
        }
        AuditEvent::Introspected if denied => {
            let (requester, caller) = (actor.map(display), record.caller.as_deref().map(display));
            refusal!(requester, reason, client_id, jti, registration, caller; "introspection denied");
        }
        AuditEvent::Introspected => {
            line!(record, requester = actor.map(display), client_id, jti, "introspection allowed");
        }
        AuditEvent::NotDecided => {
            let (caller, cause) = (actor.map(display), cause.map(display));
            refusal!(caller, reason, cause, resource; "no decision");
        }
        AuditEvent::BindingDecided => {
            let caller = actor.map(display);
            let event = if denied { "binding denied" } else { "binding allowed" };
            refusal!(caller, resource, client_id, jti, shown = evidence, reason, registration; "{event}");
        }
        AuditEvent::Checked => {
            let (proxy, method, path) = (actor.map(display), method.map(debug), record.path.as_deref().map(debug));
            let (cause, let_through) = (cause.map(display), denied.then_some(record.outcome == AuditOutcome::Reported));
            let event = if denied { "check denied" } else { "check allowed" };
            refusal!(
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
                principal = record.principal.as_deref(),
                route = record.route.as_deref(),
                requested = record.requested.as_deref(),
                destination = record.destination.as_deref(),
                registration,
                txn = record.txn.as_deref();
                "{event}"
            );
        }
        AuditEvent::CheckUnread => refusal!(reason, proxy = actor.map(display); "check denied"),
        AuditEvent::RotationAnnounced => rotation_announced(record),
        AuditEvent::Revocation => {
            let (until, approved_by) = (record.until, record.approved_by.as_deref());
            let key = record.revoked.as_deref();
            line!(record, by = actor, key, change, revision, until, approved_by, "revocation");
        }
        AuditEvent::ResourceChanged => resource_changed(record),
        AuditEvent::ClientChanged => client_changed(record),
        AuditEvent::GrantChanged => grant_changed(record),
        AuditEvent::Proposal => proposal(record),
        AuditEvent::StoreExported => line!(record, admin = actor, revision, remote, listener, "store exported"),
        AuditEvent::FeatureEnabled => feature_enabled(record),
        AuditEvent::SigningKeyChanged => signing_key_changed(record),
        AuditEvent::ReceiptSeenAgain => receipt_seen_again(record),
        AuditEvent::AdminRead => refusal!(admin = actor, method = method.map(display); "admin read"),
        AuditEvent::ConfigurationChanged => configuration_changed(record),
    }
}

fn token_exchanged(record: &AuditRecord) {
    let AuditRecord { revision, .. } = record;
    let (client_id, delegation, resource) =
        (record.client_id.as_deref(), record.delegation.as_deref(), record.resource.as_deref());
    let (jti, registration) = (record.jti.as_deref(), record.registration.as_deref());
    line!(record, client_id, delegation, resource, jti, registration, revision, "token exchanged");
}

fn resource_changed(record: &AuditRecord) {
    let AuditRecord { change, revision, .. } = record;
    let (admin, audience) = (record.actor.as_deref(), record.resource.as_deref());
    let (comment, approved_by) = (record.comment.as_deref(), record.approved_by.as_deref());
    line!(record, admin, audience, change, revision, comment, approved_by, "resource changed");
}

fn feature_enabled(record: &AuditRecord) {
    let AuditRecord { feature, revision, .. } = record;
    let (admin, approved_by) = (record.actor.as_deref(), record.approved_by.as_deref());
    line!(record, admin, feature, revision, approved_by, "feature enabled");
}

fn client_changed(record: &AuditRecord) {
    let AuditRecord { change, revision, .. } = record;
    let (admin, client_id) = (record.actor.as_deref(), record.client_id.as_deref());
    let (comment, approved_by) = (record.comment.as_deref(), record.approved_by.as_deref());
    line!(record, admin, client_id, change, revision, comment, approved_by, "client changed");
}

fn grant_changed(record: &AuditRecord) {
    let AuditRecord { change, revision, .. } = record;
    let (admin, grant, comment) = (record.actor.as_deref(), record.grant.as_deref(), record.comment.as_deref());
    let approved_by = record.approved_by.as_deref();
    line!(record, admin, approved_by, grant, change, revision, comment, "grant changed");
}

fn proposal(record: &AuditRecord) {
    let AuditRecord { change, proposed, feature, revision, .. } = record;
    let (admin, proposal, comment) = (record.actor.as_deref(), record.proposal.as_deref(), record.comment.as_deref());
    let client_id = record.client_id.as_deref().map(display);
    let (resource, grant) = (record.resource.as_deref().map(display), record.grant.as_deref());
    let key = record.revoked.as_deref();
    line!(
        record, admin, proposal, change, proposed, client_id, resource, grant, feature, key, revision, comment,
        "proposal"
    );
}

fn rotation_announced(record: &AuditRecord) {
    let AuditRecord { listener, .. } = record;
    let (spiffe_id, remote) = (record.actor.as_deref(), record.remote.as_deref().map(display));
    let (predecessor, successor) =
        (record.predecessor.as_deref().map(display), record.successor.as_deref().map(display));
    let event =
        if record.outcome == AuditOutcome::Denied { "a second successor was refused" } else { "rotation announced" };
    let reference = record.reference.map(display);
    line!(record, spiffe_id, predecessor, successor, remote, listener, reference, "{event}");
}

fn configuration_changed(record: &AuditRecord) {
    let (change, keys) = (record.change, record.keys.as_deref());
    line!(record, change, keys, "configuration changed");
}

fn receipt_seen_again(record: &AuditRecord) {
    let AuditRecord { reason, .. } = record;
    let (caller, client_id) = (record.actor.as_deref(), record.client_id.as_deref());
    let (audience, receipt) = (record.resource.as_deref(), record.jti.as_deref());
    let (certificate, cause) = (record.bound_to.as_deref(), record.cause.as_deref());
    line!(record, caller, client_id, audience, receipt, certificate, reason, cause, "receipt seen again");
}

fn signing_key_changed(record: &AuditRecord) {
    let AuditRecord { change, revision, .. } = record;
    let (admin, kid, comment) = (record.actor.as_deref(), record.kid.as_deref(), record.comment.as_deref());
    let approved_by = record.approved_by.as_deref();
    line!(record, admin, kid, change, comment, revision, approved_by, "signing key changed");
}
