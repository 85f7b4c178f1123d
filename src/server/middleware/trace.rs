//! A span for each request, and the trace that it belongs to.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use tonic::Code;
use tonic::Status;
use tracing::Level;
use tracing::Span;
use tracing::field::Empty;

use crate::authority::access::CalledMethod;
use crate::authority::access::OTHER;
use crate::authority::observe::RequestOutcome;
use crate::server::middleware::called_method::is_grpc;
use crate::server::middleware::metrics::by_grpc;
use crate::trace_context::IncomingTrace;
use crate::trace_context::REQUESTS;
use crate::trace_context::RequestTrace;

/// The span and the trace of a request on a listener.
#[derive(Debug)]
pub(in crate::server) struct RequestSpan {
    trace: RequestTrace,
}

impl RequestSpan {
    pub(in crate::server) fn of<B>(request: &Request<B>, method: CalledMethod) -> Self {
        let carried = IncomingTrace::of(request.headers());
        // Without a collector no span is created; only the incoming trace context is kept.
        let wanted = tracing::span_enabled!(target: REQUESTS, Level::INFO) && !carried.is_unsampled();
        let span = if wanted { span(request.method(), method) } else { Span::none() };
        Self { trace: RequestTrace::new(carried, span) }
    }

    /// Acts as part of the request.
    pub(in crate::server) fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        self.trace.clone().in_scope(self.trace.span(), act)
    }

    /// Records the attributes of the response in the span.
    pub(in crate::server) fn end<B>(&self, response: &Response<B>) {
        if !self.trace.span().is_disabled() {
            self.trace.settle();
            put_down(self.trace.span(), response);
        }
    }

    /// Waits as part of the request.
    pub(in crate::server) async fn scope<T>(&self, future: impl Future<Output = T>) -> T {
        self.trace.clone().scope(future).await
    }

    /// Awaits the response and records its attributes in the span.
    pub(in crate::server) async fn answered(
        self,
        answer: impl Future<Output = Result<Response<Body>, Infallible>>,
    ) -> Result<Response<Body>, Infallible> {
        let response = self.scope(answer).await?;
        self.end(&response);
        Ok(response)
    }
}

/// The attributes that are known before the response. Names come from the access table, never from the caller.
fn span(verb: &Method, method: CalledMethod) -> Span {
    let path = method.canonical_name();
    let (mut rpc_system, mut rpc_service, mut rpc_method, mut http_method, mut http_route) =
        (None, None, None, None, None);
    let name = if method.is_grpc() {
        rpc_system = Some("grpc");
        let name = path.and_then(|path| path.strip_prefix('/')).unwrap_or(OTHER);
        (rpc_service, rpc_method) = name.split_once('/').unzip();
        name.to_owned()
    } else {
        let verb = known_verb(verb);
        (http_method, http_route) = (Some(verb), path);
        let verb = if verb == OTHER_METHOD { "HTTP" } else { verb };
        path.map_or_else(|| verb.to_owned(), |path| format!("{verb} {path}"))
    };
    tracing::info_span!(
        target: REQUESTS,
        parent: None,
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = rpc_system,
        rpc.service = rpc_service,
        rpc.method = rpc_method,
        rpc.grpc.status_code = Empty,
        http.request.method = http_method,
        http.route = http_route,
        http.response.status_code = Empty,
        lanyard.client_id = Empty,
        lanyard.resource = Empty,
        lanyard.decision = Empty,
        lanyard.reason = Empty,
    )
}

const OTHER_METHOD: &str = "_OTHER";

/// One of the methods of RFC 9110 and RFC 5789.
fn known_verb(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

fn put_down<B>(span: &Span, response: &Response<B>) {
    let failed = if is_grpc(response.headers().get(CONTENT_TYPE)) {
        // A status before any message is in the headers. A status after messages is in the trailers and ends a stream.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        span.record("rpc.grpc.status_code", i32::from(code));
        by_grpc(code) == RequestOutcome::Error
    } else {
        span.record("http.response.status_code", i64::from(response.status().as_u16()));
        response.status().is_server_error()
    };
    if failed {
        span.record("otel.status_code", "error");
    }
}
