//! Attributes that a decision sets on the span of its request.

use tracing::Span;

use crate::authority::observe::audit::record::AuditOutcome;

/// The first 256 bytes, or slightly fewer to end at a character boundary.
pub(in crate::authority) fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(256)).unwrap_or_default()
}

/// Records a decision in the current span, if that is the span of a request.
pub(in crate::authority) fn record_in_span(
    outcome: AuditOutcome,
    reason: Option<&'static str>,
    client_id: Option<&str>,
    resource: Option<&str>,
) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let decision = match outcome {
        AuditOutcome::Allowed | AuditOutcome::Changed => "allow",
        AuditOutcome::Denied => "deny",
        AuditOutcome::Reported => "report",
    };
    span.record("lanyard.decision", decision);
    for (field, value) in [
        ("lanyard.reason", reason),
        ("lanyard.client_id", client_id),
        ("lanyard.resource", resource.map(beginning)),
        ("otel.status_code", reason.filter(|reason| *reason == UNABLE).map(|_| "error")),
    ] {
        if let Some(value) = value {
            span.record(field, value);
        }
    }
}

/// The reason of an internal error that no response status shows: in gRPC a denied check is an ordinary response.
const UNABLE: &str = "UNABLE";
