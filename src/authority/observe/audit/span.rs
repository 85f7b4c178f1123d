//! What a decision leaves in the span of its request.

use tracing::Span;

/// The first 256 bytes, or a few less.
pub(super) fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(256)).unwrap_or_default()
}

/// What the span of a request says of its outcome.
pub(super) enum Verdict {
    Allow,
    Deny(&'static str),
    /// Denied, and let through by the mode of the resource.
    Report(&'static str),
}

impl Verdict {
    /// Puts it down in the present span, if that is one of a request.
    pub(super) fn put_down(&self, client_id: Option<&str>, resource: Option<&str>) {
        let span = Span::current();
        if span.is_disabled() {
            return;
        }
        let (decision, reason) = match self {
            Self::Allow => ("allow", None),
            Self::Deny(reason) => ("deny", Some(*reason)),
            Self::Report(reason) => ("report", Some(*reason)),
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
}

impl From<Option<&'static str>> for Verdict {
    fn from(refused: Option<&'static str>) -> Self {
        refused.map_or(Self::Allow, Self::Deny)
    }
}

/// The one fault of this server's that no status of an answer tells: to gRPC a denied check is an answer like any other.
const UNABLE: &str = "UNABLE";
