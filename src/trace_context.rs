//! W3C Trace Context: the trace that a request belongs to, and its propagation to outgoing requests.
//!
//! A caller's headers are kept unread. They are parsed only when the trace is needed: for a line of the log, an
//! exported span, or an outgoing request. Most requests need none of these.

use std::sync::Arc;
use std::sync::OnceLock;

use hyper::HeaderMap;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use opentelemetry::Context;
use opentelemetry::propagation::Extractor;
use opentelemetry::propagation::Injector;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::SpanContext;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::IdGenerator as _;
use opentelemetry_sdk::trace::RandomIdGenerator;
use tracing::Instrument as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The size limit of a propagated `tracestate` in bytes (Trace Context section 3.3.1.5). A longer one is left out.
const MAX_STATE_BYTES: usize = 512;

/// The target of the spans of requests. They are exported to the collector and are not part of the log.
pub const REQUESTS: &str = "lanyard::request";

tokio::task_local! {
    static CURRENT: RequestTrace;
}

/// The trace context of a caller, not yet parsed.
#[derive(Clone, Debug, Default)]
pub struct IncomingTrace {
    parent: Option<HeaderValue>,
    state: Vec<HeaderValue>,
}

impl IncomingTrace {
    /// The trace context in these headers, or in this gRPC metadata. Two `traceparent` fields are treated as none.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(&PARENT).iter();
        match (parents.next(), parents.next()) {
            (Some(parent), None) => {
                Self { parent: Some(parent.clone()), state: headers.get_all(&STATE).iter().cloned().collect() }
            }
            _ => Self::default(),
        }
    }

    /// The trace context in headers given as names and raw values, as a proxy reports them.
    pub fn from_raw(headers: &[(&str, &[u8])]) -> Self {
        let values = |wanted: &HeaderName| {
            let found = headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_str()));
            found.filter_map(|(_, value)| HeaderValue::from_bytes(value).ok()).collect::<Vec<_>>()
        };
        match <[HeaderValue; 1]>::try_from(values(&PARENT)) {
            Ok([parent]) => Self { parent: Some(parent), state: values(&STATE) },
            Err(_) => Self::default(),
        }
    }

    /// Whether the caller has decided not to record its trace.
    pub fn is_unsampled(&self) -> bool {
        let flags = self.parent().and_then(|parent| parent.as_bytes().get(54));
        matches!(flags, Some(b'0' | b'2' | b'4' | b'6' | b'8' | b'a' | b'c' | b'e'))
    }

    /// `traceparent`, if it has the form of Trace Context section 3.2. The propagator accepts other forms too.
    fn parent(&self) -> Option<&str> {
        let text = self.parent.as_ref()?.to_str().ok()?;
        let shape = text.bytes().take(55).enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        let end = text.len() == 55 || !text.starts_with("00") && text.as_bytes().get(55) == Some(&b'-');
        Some(text).filter(|_| shape && end)
    }

    /// A context with the caller's span; without a span if the caller sent none or it is invalid.
    fn context(&self) -> Context {
        let Some(parent) = self.parent() else { return Context::new() };
        let state: Vec<&str> = self.state.iter().filter_map(|value| value.to_str().ok()).collect();
        let state = Some(state.join(",")).filter(|state| state.len() <= MAX_STATE_BYTES).unwrap_or_default();
        TraceContextPropagator::new().extract_with_context(&Context::new(), &ParsedHeaders { parent, state: &state })
    }
}

struct ParsedHeaders<'a> {
    parent: &'a str,
    state: &'a str,
}

impl Extractor for ParsedHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.parent),
            "tracestate" => Some(self.state),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The trace that a request belongs to: its caller's, or a new one. Clones share it.
#[derive(Clone, Debug)]
pub struct RequestTrace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    incoming: IncomingTrace,
    /// A trace context that arrived elsewhere than in the headers.
    adopted: OnceLock<IncomingTrace>,
    /// Disabled where no span is exported.
    span: Span,
    context: OnceLock<Context>,
}

impl Inner {
    /// The context of the request's own span, else of its caller's, else of a new one that only the log shows. From the
    /// first call on it does not change.
    fn context(&self) -> &Context {
        self.context.get_or_init(|| {
            let adopted = self.adopted.get().filter(|_| self.incoming.parent().is_none());
            begin_trace(&self.span, adopted.unwrap_or(&self.incoming).context())
        })
    }

    /// Assigns the span to its trace. This must happen before the span ends.
    fn settle(&self) {
        if !self.span.is_disabled() {
            self.context();
        }
    }
}

/// A request may end without a response: its caller disconnects, or a timeout expires.
impl Drop for Inner {
    fn drop(&mut self) {
        self.settle();
    }
}

impl RequestTrace {
    /// The trace of a request with this incoming context and this span.
    pub fn new(incoming: IncomingTrace, span: Span) -> Self {
        Self(Arc::new(Inner { incoming, adopted: OnceLock::new(), span, context: OnceLock::new() }))
    }

    /// The request's span.
    pub fn span(&self) -> &Span {
        &self.0.span
    }

    /// Runs a future as part of the request.
    pub async fn scope<T>(self, future: impl Future<Output = T>) -> T {
        let span = self.0.span.clone();
        CURRENT.scope(self, future.instrument(span)).await
    }

    /// Runs a closure as part of the request, within a span of its own.
    pub fn in_scope<T>(self, span: &Span, act: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, || span.in_scope(act))
    }

    fn context(&self) -> &Context {
        self.0.context()
    }

    /// Assigns the request's span to its trace, before child spans begin.
    pub fn settle(&self) {
        self.0.settle();
    }
}

fn begin_trace(span: &Span, parent: Context) -> Context {
    if !span.is_disabled() {
        // This fails only for a span that is not exported.
        drop(span.set_parent(parent.clone()));
        let own = span.context();
        if own.has_active_span() {
            return own;
        }
    }
    if parent.has_active_span() {
        return parent;
    }
    let ids = RandomIdGenerator::default();
    let flags = TraceFlags::default();
    let context = SpanContext::new(ids.new_trace_id(), ids.new_span_id(), flags, false, TraceState::default());
    parent.with_remote_span_context(context)
}

/// The trace of the request that is being processed.
pub fn current() -> Option<RequestTrace> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The trace identifier of the request that is being processed.
pub fn current_id() -> Option<TraceId> {
    CURRENT.try_with(|trace| trace.context().span().span_context().trace_id()).ok()
}

/// Sets the trace context that the current request carries elsewhere than in its headers. The headers have precedence.
pub fn adopt(incoming: impl FnOnce() -> IncomingTrace) {
    if let Some(RequestTrace(trace)) = current()
        && trace.incoming.parent().is_none()
    {
        trace.adopted.get_or_init(incoming);
    }
}

/// Runs a future that may outlive the request, as part of the same trace.
pub fn detached<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let trace = current().map(|trace| {
        let context = OnceLock::from(trace.context().clone());
        let (incoming, adopted) = (IncomingTrace::default(), OnceLock::new());
        RequestTrace(Arc::new(Inner { incoming, adopted, span: Span::none(), context }))
    });
    async move {
        match trace {
            Some(trace) => CURRENT.scope(trace, future).await,
            None => future.await,
        }
    }
}

/// The parent span of an outgoing request: that of the current request, or that of the program that links this crate,
/// if it traces with tracing-opentelemetry.
fn source() -> Context {
    current().map_or_else(|| Span::current().context(), |trace| trace.context().clone())
}

/// Adds the current span to the headers of an outgoing request, if there is one.
pub fn inject(headers: &mut HeaderMap) {
    put(&source(), headers);
}

/// The same without `tracestate`, for a receiver that must not see what other systems wrote there.
pub fn inject_parent(headers: &mut HeaderMap) {
    inject(headers);
    headers.remove(&STATE);
}

/// Adds the current span, or else the given trace context.
pub fn inject_or(incoming: &IncomingTrace, headers: &mut HeaderMap) {
    let source = source();
    put(&if source.has_active_span() { source } else { incoming.context() }, headers);
}

fn put(context: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
}

struct HeaderInjector<'a>(&'a mut HeaderMap);

impl Injector for HeaderInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = if key == PARENT.as_str() { PARENT } else { STATE };
        if !value.is_empty()
            && let Ok(value) = HeaderValue::try_from(value)
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use opentelemetry_sdk::trace::SpanData;
    use opentelemetry_sdk::trace::SpanExporter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn context_of(parent: &str) -> Context {
        IncomingTrace::from_raw(&[("Traceparent", parent.as_bytes()), ("tracestate", b"a=1"), ("tracestate", b"b=2")])
            .context()
    }

    #[test]
    fn a_traceparent_is_read_as_trace_context_defines_it() {
        for (parent, sampled) in [
            (format!("00-{TRACE}-b7ad6b7169203331-01"), true),
            (format!("00-{TRACE}-b7ad6b7169203331-00"), false),
            (format!("00-{TRACE}-b7ad6b7169203331-02"), false),
            (format!("01-{TRACE}-b7ad6b7169203331-01-of-the-future"), true),
        ] {
            let context = context_of(&parent);
            let span = context.span().span_context().clone();
            assert_eq!((span.trace_id().to_string().as_str(), span.is_sampled()), (TRACE, sampled), "{parent}");
            assert_eq!(span.trace_state().header(), "a=1,b=2");
            assert_eq!(
                IncomingTrace::from_raw(&[("traceparent", parent.as_bytes())]).is_unsampled(),
                !sampled,
                "{parent}"
            );
        }
    }

    #[test]
    fn a_malformed_or_repeated_traceparent_is_ignored() {
        let zeros = "0".repeat(32);
        for parent in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("00-{TRACE}-b7ad6b7169203331-01-"),
            format!("01-{TRACE}-b7ad6b7169203331-01more"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            format!("00-{TRACE}-b7ad6b716920333 -01"),
            format!(" 00-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-0g"),
            format!("0\u{e9}-{TRACE}-b7ad6b7169203331-01"),
        ] {
            assert!(!context_of(&parent).has_active_span(), "{parent}");
        }
        let one = format!("00-{TRACE}-b7ad6b7169203331-01");
        let twice = [("traceparent", one.as_bytes()), ("traceparent", one.as_bytes())];
        assert!(!IncomingTrace::from_raw(&twice).context().has_active_span());
        let long = format!("a={}", "x".repeat(511));
        let incoming = IncomingTrace::from_raw(&[("traceparent", one.as_bytes()), ("tracestate", long.as_bytes())]);
        assert_eq!(incoming.context().span().span_context().trace_state().header(), "");
    }

    #[test]
    fn a_request_stays_in_one_trace() {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
        let fields = [("traceparent", parent.as_bytes())];
        let with = RequestTrace::new(IncomingTrace::from_raw(&fields), Span::none());
        let other = format!("00-{}-b7ad6b7169203331-01", TRACE.replace('0', "1"));
        with.in_scope(&Span::none(), || {
            adopt(|| IncomingTrace::from_raw(&[("traceparent", other.as_bytes())]));
            let mut headers = HeaderMap::new();
            inject(&mut headers);
            assert_eq!(headers[PARENT], parent);
        });
        RequestTrace::new(IncomingTrace::default(), Span::none()).in_scope(&Span::none(), || {
            adopt(|| IncomingTrace::from_raw(&fields));
            assert_eq!(current_id().unwrap().to_string(), TRACE);
        });
        RequestTrace::new(IncomingTrace::default(), Span::none()).in_scope(&Span::none(), || {
            let id = current_id();
            assert_ne!(id, Some(TraceId::INVALID));
            adopt(|| IncomingTrace::from_raw(&fields));
            assert_eq!(current_id(), id);
        });
        assert_eq!(current_id(), None);
    }

    #[derive(Clone, Debug, Default)]
    struct Exported(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Exported {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_request_that_ends_without_a_response_is_in_its_callers_trace() {
        let exported = Exported::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
            let incoming = IncomingTrace::from_raw(&[("traceparent", parent.as_bytes())]);
            drop(RequestTrace::new(incoming, tracing::info_span!(target: REQUESTS, parent: None, "request")));
        });
        let spans = exported.0.lock().unwrap();
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    }
}
