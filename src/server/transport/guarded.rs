//! Requests on the listeners where each caller is known.

use std::convert::Infallible;
use std::future::Ready;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use futures_util::future::Either;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::Peer;
use crate::authority::access::PeerConnection;
use crate::limits::Busy;
use crate::limits::UnderWay;
use crate::server::middleware::AnswerBody;
use crate::server::middleware::Answered;
use crate::server::middleware::Asked;
use crate::server::middleware::Buffers;
use crate::server::middleware::ForwardedService;
use crate::server::middleware::Kept;
use crate::server::middleware::Opened;
use crate::server::middleware::RequestMetrics;
use crate::server::middleware::RequestSpan;
use crate::server::middleware::ShortlyAnswering;
use crate::server::middleware::ThreadLimits;
use crate::server::middleware::answer_shortly;
use crate::server::middleware::arrived;
use crate::server::middleware::bounded;
use crate::server::middleware::call_guarded;
use crate::server::middleware::called_method;
use crate::server::middleware::head_bytes;
use crate::server::middleware::refuse_shortly;
use crate::server::middleware::respond;
use crate::server::middleware::until_sent;

/// The peers that send requests on a connection.
#[derive(Clone)]
pub(super) enum Peers {
    /// The peer of the connection itself, with these routes.
    Direct(Router, Option<Peer>, Arc<Opened>),
    /// Peers whose certificates the terminator, which is the peer of the connection, forwards.
    Forwarded(Arc<ForwardedService>, Option<Arc<PeerConnection>>),
}

/// What the requests of a connection have in common.
pub(super) struct Guarded {
    pub(super) peers: Peers,
    pub(super) thread: ThreadLimits,
    pub(super) info: ConnectionInfo,
    pub(super) ending: Ending,
}

/// How the requests of a connection end.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) authority: Arc<Authority>,
    /// Becomes true when the connection ends.
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) buffers: Arc<Buffers>,
}

type Answer = Result<Response<AnswerBody>, Infallible>;

/// An answer that is there, or one that may have to be waited for. The latter is on the heap: it is large, and moved with
/// its task.
pub(super) type Answering = Either<Ready<Answer>, Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl Service<Request<Incoming>> for Guarded {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let method = called_method(&request);
        let metrics = RequestMetrics::begin(&self.ending.authority, method);
        let span = RequestSpan::of(&request, method);
        match &self.peers {
            Peers::Direct(router, peer, opened) => self.direct((router, peer, opened), request, method, metrics, span),
            Peers::Forwarded(service, terminator) => {
                let (service, terminator) = (Arc::clone(service), terminator.clone());
                let (ending, thread, info) = (self.ending.clone(), self.thread.clone(), self.info);
                let request = self.with_buffers(request.map(arrived));
                Either::Right(Box::pin(async move {
                    let (authority, terminator) = (&ending.authority, terminator.as_deref());
                    let answer = async { service.call(authority, terminator, &thread, info, method, request).await };
                    let response = Box::pin(span.answered(answer)).await?;
                    Ok(ending.long(response, metrics))
                }))
            }
        }
    }
}

impl Guarded {
    fn direct(
        &self,
        (router, peer, opened): (&Router, &Option<Peer>, &Arc<Opened>),
        request: Request<Incoming>,
        method: CalledMethod,
        metrics: RequestMetrics,
        span: RequestSpan,
    ) -> Answering {
        let Self { info, ending, .. } = self;
        let Ending { authority, buffers, .. } = ending;
        let (peer, limits, busy) = (peer.as_ref(), &opened.limits, opened.connection.busy());
        let (share, connection) = (limits.share(), *info);
        let asked = Asked { authority, peer, share, buffers, connection, method };
        let under_way = match limits.begin(method.priority(|| limits.is_admin()), head_bytes(&request)) {
            Ok(under_way) => under_way,
            Err(error) => {
                let refused = span.within(|| refuse_shortly(asked, request.headers(), error));
                return at_once(ending.short(&span, refused, metrics, (None, busy)));
            }
        };
        match span.within(|| answer_shortly(asked, request)) {
            ShortlyAnswering::Ready(answered) => {
                at_once(ending.short(&span, answered, metrics, (Some(under_way), busy)))
            }
            ShortlyAnswering::Waiting(answering) => {
                let ending = ending.clone();
                Either::Right(Box::pin(async move {
                    let answered = span.scope(answering).await;
                    Ok(ending.short(&span, answered, metrics, (Some(under_way), busy)))
                }))
            }
            ShortlyAnswering::LongWay(request) => {
                let (router, ending, info) = (router.clone(), ending.clone(), *info);
                let (peer, limits, request) = (peer.cloned(), Arc::clone(limits), self.with_buffers(*request));
                Either::Right(Box::pin(async move {
                    let authority = &ending.authority;
                    let answer = call_guarded(router, authority, peer.as_ref(), &limits, info, method, request);
                    let response = Box::pin(span.answered(answer)).await?;
                    Ok(ending.long(until_sent(response, (under_way, busy)), metrics))
                }))
            }
        }
    }

    fn with_buffers(&self, mut request: Request<Body>) -> Request<Body> {
        request.extensions_mut().insert(Arc::clone(&self.ending.buffers));
        request
    }
}

impl Ending {
    /// What the short road answers.
    fn short(
        &self,
        span: &RequestSpan,
        answered: Answered,
        metrics: RequestMetrics,
        (under_way, busy): (Option<UnderWay>, Busy),
    ) -> Response<AnswerBody> {
        let response = match answered {
            Ok(answer) => {
                let kept = Kept::new(metrics, under_way, busy);
                respond(AnswerBody::whole(answer.frame, answer.outcome, kept, &self.buffers))
            }
            Err(refused) => self.long(until_sent(*refused, (under_way, busy)), metrics),
        };
        span.end(&response);
        response
    }

    /// An answer that is bounded by the end of the connection, and counted.
    fn long(&self, response: Response<Body>, metrics: RequestMetrics) -> Response<AnswerBody> {
        let response = bounded(response, self.shutdown.clone(), &self.authority, metrics);
        response.map(|body| AnswerBody::new(body, &self.buffers))
    }
}

fn at_once(response: Response<AnswerBody>) -> Answering {
    Either::Left(ready(Ok(response)))
}
