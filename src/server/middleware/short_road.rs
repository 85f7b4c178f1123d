//! The guard of calls with a short road ([`crate::grpc::short_road`]): the same as [`super::guard`], called as functions.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Version;
use axum::http::header::CONTENT_TYPE;
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::Response;
use hyper::body::Body as _;
use hyper::body::Incoming;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Protocol;
use crate::authority::access::Sender;
use crate::grpc::ext_authz;
use crate::grpc::short_answer::ShortAnswer;
use crate::grpc::short_road::ShortAnswering;
use crate::grpc::short_road::ShortCall;
use crate::grpc::short_road::ShortQuestion;
use crate::limits::Share;
use crate::server::bounds::PIECE_BYTES;
use crate::server::middleware::buffers::Buffers;
use crate::server::middleware::catch_panic::report;
use crate::server::middleware::catch_panic::unless_panic;
use crate::server::middleware::guard::refused;
use crate::server::middleware::refusal;
use crate::server::middleware::request_body::after;
use crate::server::middleware::request_body::arrived;

/// What gRPC's clients send, and what is answered. A suffix, such as `+proto`, goes the long way.
const GRPC: &str = "application/grpc";

/// An answer without a message.
type Refused = Box<Response<Body>>;

/// What a request is answered.
pub(in crate::server) type Answered = Result<ShortAnswer, Refused>;

/// What becomes of a request.
pub(in crate::server) enum Answering {
    /// It is answered.
    Ready(Answered),
    /// It will be.
    Waiting(Pin<Box<dyn Future<Output = Answered> + Send>>),
    /// It goes the long way.
    LongWay(Box<Request<Body>>),
}

/// A request besides the request itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Asked<'a> {
    pub(in crate::server) authority: &'a Arc<Authority>,
    pub(in crate::server) peer: Option<&'a Peer>,
    pub(in crate::server) share: &'a Arc<Share>,
    pub(in crate::server) buffers: &'a Arc<Buffers>,
    pub(in crate::server) connection: ConnectionInfo,
    pub(in crate::server) method: CalledMethod,
}

/// Refuses a request beyond a limit. Nothing of it is read.
pub(in crate::server) fn refuse(asked: Asked<'_>, headers: &HeaderMap, error: NotAdmitted) -> Answered {
    let Asked { authority, method, .. } = asked;
    if method.protocol() == Protocol::ExtAuthz {
        let reference = authority.report_not_admitted(&asked.sender(), method.metric_label(), error, false);
        return Ok(ext_authz::not_admitted(error, reference));
    }
    Err(Box::new(refused(authority, &asked.sender(), method, headers, error)))
}

/// Answers a request that has begun, that has a short road, and whose message has arrived whole.
pub(in crate::server) fn answer(asked: Asked<'_>, request: Request<Incoming>) -> Answering {
    let Some(call) = call(asked.method, &request) else { return Answering::LongWay(Box::new(request.map(arrived))) };
    let (head, mut body) = request.into_parts();
    let (taken, is_whole) = take(&mut body);
    match call.read(&taken).filter(|_| is_whole) {
        Some(question) => asked.answer(question, &taken, &head.headers),
        None => Answering::LongWay(Box::new(Request::from_parts(head, after(taken, body)))),
    }
}

fn call<B>(method: CalledMethod, request: &Request<B>) -> Option<ShortCall> {
    let content_type = request.headers().get(CONTENT_TYPE);
    let usual = request.version() == Version::HTTP_2
        && request.method() == Method::POST
        && content_type.is_some_and(|content_type| *content_type == GRPC)
        && !request.headers().contains_key("grpc-encoding");
    if usual { ShortCall::of(method) } else { None }
}

/// Takes what is there of a body, up to its second piece. Returns whether that is all of it.
fn take(body: &mut Incoming) -> (Bytes, bool) {
    let mut taken = Bytes::new();
    while !body.is_end_stream() {
        // Whoever waits for the rest says so anew.
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => {
                // Trailers mean nothing in a request.
                let data = frame.into_data().unwrap_or_default();
                if !taken.is_empty() && !data.is_empty() {
                    return ([taken, data].concat().into(), false);
                }
                taken = if data.is_empty() { taken } else { data };
            }
            Poll::Ready(None) => return (taken, true),
            // What went wrong is found again.
            Poll::Ready(Some(Err(_))) | Poll::Pending => return (taken, false),
        }
    }
    (taken, true)
}

impl Asked<'_> {
    /// A panic ends this request only.
    fn answer(self, question: ShortQuestion<'_>, body: &[u8], headers: &HeaderMap) -> Answering {
        let answering = unless_panic(self.authority, self.method, || self.admit(question, body, headers));
        let answering = answering.unwrap_or_else(|| Err(Box::new(self.broken())));
        answering.unwrap_or_else(|refused| Answering::Ready(Err(refused)))
    }

    fn admit(self, question: ShortQuestion<'_>, body: &[u8], headers: &HeaderMap) -> Result<Answering, Refused> {
        let Self { authority, peer, share, buffers, connection, method } = self;
        let refuse = |error| Box::new(refused(authority, &self.sender(), method, headers, error));
        let admitted = authority.authorize(authority.view(), peer, method).map_err(refuse)?;
        let admitted = admitted.ok_or_else(|| Box::new(self.broken()))?;
        let mut held = buffers.hold(share);
        held.add(body.len().saturating_add(PIECE_BYTES)).map_err(|exceeded| refuse(exceeded.into()))?;
        Ok(match question.answer(authority, admitted.on(connection), body) {
            ShortAnswering::Ready(answered) => Answering::Ready(self.unless_refused(answered)),
            ShortAnswering::Waiting(answering) => {
                let (authority, peer) = (Arc::clone(authority), peer.cloned());
                let (share, buffers) = (Arc::clone(share), Arc::clone(buffers));
                Answering::Waiting(Box::pin(async move {
                    let answered = AssertUnwindSafe(answering).catch_unwind().await;
                    drop(held);
                    let (peer, share, buffers) = (peer.as_ref(), &share, &buffers);
                    let asked = Asked { authority: &authority, peer, share, buffers, connection, method };
                    if let Ok(answered) = answered {
                        asked.unless_refused(answered)
                    } else {
                        report(&authority, method.metric_label());
                        Err(Box::new(asked.broken()))
                    }
                }))
            }
        })
    }

    fn unless_refused(&self, answered: Result<ShortAnswer, Status>) -> Answered {
        answered.map_err(|status| {
            Box::new(refusal::answered(self.authority, || self.sender(), self.method, status.into_http()))
        })
    }

    fn broken(&self) -> Response<Body> {
        refusal::broken(self.authority, &self.sender(), self.method.protocol())
    }

    fn sender(&self) -> Sender {
        Sender::of(self.peer, self.connection)
    }
}

/// The head of an answer.
pub(in crate::server) fn respond<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}
