//! `BindingService.ValidateBindings`: requests and answers over one bidirectional stream, past tonic, which would decode
//! and move each message by itself.
//!
//! There is no queue between the two. Requests are read only when answers are polled, which happens when the peer has room
//! for them. HTTP/2 flow control stops a peer that sends and does not read. The answers to requests that arrived together
//! leave together.

use std::convert::Infallible;
use std::future::Ready;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::task::Context;
use std::task::Poll;

use axum::http;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures_util::future::Either;
use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use prost::bytes::Bytes;
use tokio::task::coop;
use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;
use tonic_types::StatusExt as _;
use tower::Service;
use tracing::Span;
use tracing::field::Empty;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Priority;
use crate::authority::access::Sender;
use crate::authority::state::Asker;
use crate::grpc::asker;
use crate::grpc::binding_frames::BindingFrame;
use crate::grpc::binding_frames::BindingFrames;
use crate::grpc::bindings;
use crate::grpc::status;
use crate::grpc::wire;
use crate::grpc::wire::Writer;
use crate::limits::CallerLimits;
use crate::trace_context;
use crate::trace_context::REQUESTS;
use crate::trace_context::RequestTrace;

/// The method's full name, as in the access table.
const METHOD: &str = "/lanyard.v1.BindingService/ValidateBindings";

/// [`METHOD`] resolved once, because each message needs it.
static CALLED_METHOD: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(METHOD, true));

/// How many bytes of answers leave together, about.
const TOGETHER: usize = 8 * 1024;

/// Serves the stream; `others` serves the service's other methods, and refuses encodings.
#[derive(Clone, Debug)]
pub(super) struct WithStream<S> {
    authority: Arc<Authority>,
    others: S,
}

impl<S> WithStream<S> {
    pub(super) fn new(authority: Arc<Authority>, others: S) -> Self {
        Self { authority, others }
    }
}

impl<S: NamedService> NamedService for WithStream<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for WithStream<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<http::Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let encoding = request.headers().get("grpc-encoding");
        if request.uri().path() != METHOD || encoding.is_some_and(|encoding| encoding != "identity") {
            return Either::Right(self.others.call(request));
        }
        let opened = Answers::open(&self.authority, request);
        Either::Left(ready(Ok(match opened {
            Ok(answers) => {
                let mut response = http::Response::new(Body::new(answers));
                response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
                response
            }
            Err(status) => status.into_http(),
        })))
    }
}

/// The answers of one stream, as its body.
struct Answers {
    authority: Arc<Authority>,
    peer: Peer,
    limits: Arc<CallerLimits>,
    connection: ConnectionInfo,
    trace: Option<RequestTrace>,
    requests: Body,
    frames: BindingFrames,
    state: State,
}

enum State {
    Open,
    /// No request is read any more, and this status is to be sent.
    Ending(Status),
    Over,
}

impl Answers {
    fn open(authority: &Arc<Authority>, request: http::Request<Body>) -> Result<Self, Status> {
        let (mut head, requests) = request.into_parts();
        let missing = || Status::internal("the request did not pass the guard");
        Ok(Self {
            authority: Arc::clone(authority),
            peer: head.extensions.get::<Peer>().cloned().ok_or_else(missing)?,
            limits: head.extensions.get::<Arc<CallerLimits>>().map(Arc::clone).ok_or_else(missing)?,
            connection: asker(&mut head.extensions)?.connection,
            trace: trace_context::current(),
            requests,
            frames: BindingFrames::default(),
            state: State::Open,
        })
    }

    /// Reads requests and writes their answers, until there are enough of them or no more is there.
    ///
    /// All of these requests have arrived before, so that they are decided by one view.
    fn poll_answers(&mut self, context: &mut Context<'_>, answers: &mut Vec<u8>) {
        let mut caller = None;
        while matches!(self.state, State::Open) && answers.len() < TOGETHER {
            // Other connections share this thread, so a peer that sends without pause has to yield to them.
            let Poll::Ready(turn) = coop::poll_proceed(context) else { return };
            turn.made_progress();
            if let Some(frame) = self.frames.next() {
                let answered = match self.trace.clone() {
                    Some(trace) => {
                        let span = span(&trace);
                        trace.in_scope(&span, || self.answer(&frame, &mut caller, answers))
                    }
                    None => self.answer(&frame, &mut caller, answers),
                };
                if let Err(status) = answered {
                    self.state = State::Ending(status);
                }
                continue;
            }
            match Pin::new(&mut self.requests).poll_frame(context) {
                Poll::Pending => return,
                // Trailers mean nothing in a request.
                Poll::Ready(Some(Ok(frame))) => self.frames.push(&frame.into_data().unwrap_or_default()),
                // The peer needs no more answers.
                Poll::Ready(Some(Err(status))) if status.code() == Code::Cancelled => {
                    self.state = State::Ending(Status::ok(""));
                }
                // The stream is broken and cannot be resynchronized.
                Poll::Ready(Some(Err(status))) => self.state = State::Ending(status),
                Poll::Ready(None) if self.frames.is_empty() => self.state = State::Ending(Status::ok("")),
                Poll::Ready(None) => {
                    self.state = State::Ending(Status::internal("Unexpected EOF decoding stream."));
                }
            }
        }
    }

    /// Answers one message. Each message is a request of its own, so the caller is authorized again, once for those that are
    /// answered together. An error ends the whole stream.
    fn answer(&self, frame: &BindingFrame, caller: &mut Option<Asker>, answers: &mut Vec<u8>) -> Result<(), Status> {
        let Self { authority, limits, .. } = self;
        if let Err(error) = limits.message(Priority::Decision) {
            let status = self.report(error, false);
            wire::frame(answers, |answer| failed(answer, &status));
            return Ok(());
        }
        let caller = match caller {
            Some(caller) => caller,
            None => caller.insert(self.authorize()?),
        };
        let begin = answers.len();
        let mut judged = Ok(());
        wire::frame(answers, |answer| {
            answer.message(1, |answer| {
                judged = frame.question(|question| bindings::evaluate(authority, caller, question, answer));
            });
        });
        if let Err(status) = judged {
            answers.truncate(begin);
            wire::frame(answers, |answer| failed(answer, &status));
        }
        Ok(())
    }

    /// The caller of the requests that are answered now.
    fn authorize(&self) -> Result<Asker, Status> {
        let caller = self.authority.authorize(self.authority.view(), Some(&self.peer), *CALLED_METHOD);
        let caller = caller.map_err(|error| self.report(error, true))?;
        let caller = caller.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
        Ok(caller.on(self.connection).into())
    }

    fn report(&self, error: NotAdmitted, ends: bool) -> Status {
        let sender = Sender::of(Some(&self.peer), self.connection);
        let reference = self.authority.report_not_admitted(&sender, METHOD, error, ends);
        status::referring(&status::not_admitted(error), reference)
    }
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

/// Writes a `ValidateBindingsError`.
fn failed(answer: &mut Writer<'_>, status: &Status) {
    answer.message(2, |error| {
        error.choice(1, status.code());
        let info = status.get_details_error_info();
        error.text(2, info.as_ref().map(|info| info.reason.as_str()).unwrap_or_default());
        error.text(3, status.message());
        error.text(4, info.as_ref().and_then(status::reference_of).unwrap_or_default());
    });
}

impl HttpBody for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut answers = Vec::new();
        self.poll_answers(context, &mut answers);
        if !answers.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(answers.into()))));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Open => {
                self.state = State::Open;
                Poll::Pending
            }
            State::Ending(status) => {
                let mut trailers = HeaderMap::new();
                // A status is always valid in a header; one without is a failure to the peer.
                drop(status.add_header(&mut trailers));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }
}
