//! `BindingService.ValidateBindings`: requests and responses over one bidirectional stream.
//!
//! There is no queue between the two. A request is read only when its response is polled, which happens when the peer
//! has room for it. HTTP/2 flow control stops a peer that sends and does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;

use axum::http;
use futures_core::Stream;
use futures_util::stream;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::body::Body;
use tonic_types::StatusExt as _;
use tracing::Span;
use tracing::field::Empty;

use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::PeerConnection;
use crate::authority::access::Priority;
use crate::authority::access::Sender;
use crate::authority::state::Caller;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::readable::Readable;
use crate::grpc::status;
use crate::limits::CallerLimits;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingsError;
use crate::proto::ValidateBindingsResponse;
use crate::proto::validate_bindings_response::Outcome;
use crate::trace_context;
use crate::trace_context::REQUESTS;
use crate::trace_context::RequestTrace;

/// The method's full name, as in the access table.
const METHOD: &str = "/lanyard.v1.BindingService/ValidateBindings";

/// [`METHOD`] resolved once, because each message needs it.
static CALLED_METHOD: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(METHOD, true));

/// The responses of one stream.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<ValidateBindingsResponse, Status>> + Send>>;

/// Replaces undecodable messages of a `ValidateBindings` stream (see [`Readable`]). Requests of other methods are
/// unchanged.
pub(super) fn readable(request: http::Request<Body>) -> http::Request<Body> {
    if request.uri().path() != METHOD {
        return request;
    }
    request.map(|body| Body::new(Readable::new(body)))
}

/// Returns a stream with one response for each message.
pub(super) fn answers(
    services: Services,
    request: Request<Streaming<ValidateBindingRequest>>,
) -> Result<Answers, Status> {
    let (_, extensions, messages) = request.into_parts();
    let peer = extensions.get::<Arc<PeerConnection>>();
    let peer = peer.map(Arc::clone).ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let connection = caller(&extensions)?.connection;
    let limits = extensions.get::<Arc<CallerLimits>>().map(Arc::clone);
    let limits = limits.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let open = Some((services, (peer, limits, connection), messages));
    let trace = trace_context::current();
    Ok(Box::pin(stream::unfold((open, trace), async |(open, trace)| {
        let (services, from, mut messages) = open?;
        // Other connections share this thread, so a peer that sends without pause has to yield to them.
        tokio::task::consume_budget().await;
        let message = match messages.message().await {
            Ok(message) => message?,
            // The stream is broken and cannot be resynchronized.
            Err(status) => return Some((Err(status), (None, trace))),
        };
        let answer = || answer(&services, (&from.0, &from.1), from.2, message);
        let answered = match &trace {
            Some(trace) => trace.clone().in_scope(&span(trace), answer),
            None => answer(),
        };
        match answered {
            Ok(answer) => Some((Ok(answer), (Some((services, from, messages)), trace))),
            Err(status) => Some((Err(status), (None, trace))),
        }
    })))
}

/// The span of one request, a child of the span of the stream.
fn span(trace: &RequestTrace) -> Span {
    if trace.span().is_disabled() {
        return Span::none();
    }
    trace.settle();
    tracing::info_span!(
        target: REQUESTS,
        parent: trace.span(),
        "question",
        lanyard.client_id = Empty,
        lanyard.resource = Empty,
        lanyard.decision = Empty,
        lanyard.reason = Empty,
    )
}

/// Answers one message. Each message is a request of its own, so the caller is authorized again. An error ends the
/// whole stream.
fn answer(
    services: &Services,
    (peer, limits): (&PeerConnection, &CallerLimits),
    connection: ConnectionInfo,
    message: ValidateBindingRequest,
) -> Result<ValidateBindingsResponse, Status> {
    if let Err(error) = limits.message(Priority::Decision) {
        services.authority.report_not_admitted(&Sender::of(Some(peer), connection), METHOD, error, false);
        return Ok(answered(Outcome::Error(print(&status::not_admitted(error)))));
    }
    let caller =
        services.authority.authorize(services.authority.view(), Some(peer), *CALLED_METHOD).map_err(|error| {
            services.authority.report_not_admitted(&Sender::of(Some(peer), connection), METHOD, error, true);
            status::not_admitted(error)
        })?;
    let caller = caller.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let caller = Caller { connection, ..caller };
    let outcome = match services.evaluate(&caller, message) {
        Ok(answer) => Outcome::Judged(answer),
        Err(status) => Outcome::Error(print(&status)),
    };
    Ok(answered(outcome))
}

fn answered(outcome: Outcome) -> ValidateBindingsResponse {
    ValidateBindingsResponse { outcome: Some(outcome) }
}

fn print(status: &Status) -> ValidateBindingsError {
    ValidateBindingsError {
        code: status.code().into(),
        reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
        message: status.message().to_owned(),
    }
}
