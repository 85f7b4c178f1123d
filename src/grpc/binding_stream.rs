//! `BindingService.ValidateBindings`: questions and answers over one stream.
//!
//! There is no queue between the two. A question is only read when its answer is asked for, and that is when the peer has
//! room for it: one that sends and does not read is stopped by HTTP/2's flow control.

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
use crate::authority::access::PeerConnection;
use crate::authority::observe::AuditEvent;
use crate::grpc::Services;
use crate::grpc::readable::Readable;
use crate::grpc::status;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingsError;
use crate::proto::ValidateBindingsResponse;
use crate::proto::validate_bindings_response::Outcome;
use crate::trace_context;
use crate::trace_context::REQUESTS;
use crate::trace_context::RequestTrace;

/// The method's full name, as the access table has it.
const METHOD: &str = "/lanyard.v1.BindingService/ValidateBindings";

/// The same, looked up: it is asked for at each message.
static CALLED_METHOD: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(METHOD, true));

/// The answers of one stream.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<ValidateBindingsResponse, Status>> + Send>>;

/// Makes each message of a stream one that can be read; a request of another method stays as it is.
pub(super) fn readable(request: http::Request<Body>) -> http::Request<Body> {
    if request.uri().path() == METHOD { request.map(|body| Body::new(Readable::new(body))) } else { request }
}

/// One answer for each message.
pub(super) fn answers(
    services: Services,
    request: Request<Streaming<ValidateBindingRequest>>,
) -> Result<Answers, Status> {
    let (_, extensions, messages) = request.into_parts();
    let peer = extensions.get::<Arc<PeerConnection>>();
    let peer = peer.map(Arc::clone).ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let open = Some((services, peer, messages));
    let trace = trace_context::current();
    Ok(Box::pin(stream::unfold((open, trace), async |(open, trace)| {
        let (services, peer, mut messages) = open?;
        // Other connections live on this thread: who asks without end lets them have their turn.
        tokio::task::consume_budget().await;
        let message = match messages.message().await {
            Ok(message) => message?,
            // The stream is broken, and what comes next cannot be told.
            Err(status) => return Some((Err(status), (None, trace))),
        };
        let answer = || answer(&services, &peer, message);
        let answered = match &trace {
            Some(trace) => trace.clone().in_scope(&span(trace), answer),
            None => answer(),
        };
        match answered {
            Ok(answer) => Some((Ok(answer), (Some((services, peer, messages)), trace))),
            Err(status) => Some((Err(status), (None, trace))),
        }
    })))
}

/// One question, within the span of the stream.
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

/// Each message is a request of its own: who asks is looked at anew. An error is for the whole stream.
fn answer(
    services: &Services,
    peer: &PeerConnection,
    message: ValidateBindingRequest,
) -> Result<ValidateBindingsResponse, Status> {
    let caller =
        services.authority.authorize(services.authority.view(), Some(peer), *CALLED_METHOD).map_err(|error| {
            services.authority.metrics().call_refused(error);
            AuditEvent::NotAdmitted { peer: Some(peer), method: METHOD, error, stream: true }.record();
            status::not_admitted(error)
        })?;
    let caller = caller.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let outcome = match services.judged(&caller, message) {
        Ok(judged) => Outcome::Judged(judged),
        Err(status) => Outcome::Error(print(&status)),
    };
    Ok(ValidateBindingsResponse { outcome: Some(outcome) })
}

fn print(status: &Status) -> ValidateBindingsError {
    ValidateBindingsError {
        code: status.code().into(),
        reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
        message: status.message().to_owned(),
    }
}
