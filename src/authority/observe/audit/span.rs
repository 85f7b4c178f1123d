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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::Mutex;

    use tracing::field::Empty;

    use crate::authority::decision::CheckRefusal;
    use crate::authority::observe::audit::AuditEvent;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The one line of a check that was denied before it was looked at, with the span around it.
    fn line(refusal: CheckRefusal) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                lanyard.decision = Empty,
                lanyard.reason = Empty,
                otel.status_code = Empty
            );
            span.in_scope(|| AuditEvent::CheckUnread(refusal).record());
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[test]
    fn a_check_in_which_something_broke_is_a_denial_and_an_error_in_its_span() {
        let line = line(CheckRefusal::Unable);
        let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"UNABLE\" otel.status_code=\"error\"}";
        assert!(line.contains(span) && line.contains("check denied reason=\"UNABLE\""), "{line}");
    }

    #[test]
    fn a_check_that_cannot_be_read_is_a_denial_and_no_error_of_the_servers() {
        let line = line(CheckRefusal::RequestMalformed);
        let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"REQUEST_MALFORMED\"}";
        assert!(line.contains(span), "{line}");
    }
}
