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
use crate::authority::access::PeerConnection;
use crate::server::middleware::AnswerBody;
use crate::server::middleware::Asked;
use crate::server::middleware::Buffers;
use crate::server::middleware::ForwardedService;
use crate::server::middleware::Kept;
use crate::server::middleware::Opened;
use crate::server::middleware::RequestMetrics;
use crate::server::middleware::RequestSpan;
use crate::server::middleware::ThreadLimits;
use crate::server::middleware::answer_shortly;
use crate::server::middleware::arrived;
use crate::server::middleware::begin;
use crate::server::middleware::bounded;
use crate::server::middleware::call_guarded;
use crate::server::middleware::called_method;
use crate::server::middleware::respond;
use crate::server::middleware::until_sent;

/// The peers that send requests on a connection.
#[derive(Clone)]
pub(super) enum Peers {
    /// The peer of the connection itself, with these routes.
    Direct(Router, Option<Arc<PeerConnection>>, Arc<Opened>),
    /// Peers whose certificates the terminator, which is the peer of the connection, forwards.
    Forwarded(Arc<ForwardedService>, Option<Arc<PeerConnection>>),
}

/// What the requests of a connection have in common.
pub(super) struct Guarded {
    pub(super) peers: Peers,
    pub(super) authority: Arc<Authority>,
    pub(super) thread: ThreadLimits,
    pub(super) info: ConnectionInfo,
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
        let metrics = RequestMetrics::begin(&self.authority, method);
        let span = RequestSpan::of(&request, method);
        match &self.peers {
            Peers::Direct(router, peer, opened) => self.direct((router, peer, opened), request, method, metrics, span),
            Peers::Forwarded(service, terminator) => {
                let (service, terminator) = (Arc::clone(service), terminator.clone());
                let (authority, thread, info) = (Arc::clone(&self.authority), self.thread.clone(), self.info);
                let (request, end) = (self.with_buffers(request.map(arrived)), self.end(metrics));
                Either::Right(Box::pin(async move {
                    let answer =
                        async { service.call(&authority, terminator.as_deref(), &thread, info, method, request).await };
                    Box::pin(span.answered(answer)).await.map(end)
                }))
            }
        }
    }
}

impl Guarded {
    fn direct(
        &self,
        (router, peer, opened): (&Router, &Option<Arc<PeerConnection>>, &Arc<Opened>),
        request: Request<Incoming>,
        method: CalledMethod,
        metrics: RequestMetrics,
        span: RequestSpan,
    ) -> Answering {
        let Self { authority, info, buffers, .. } = self;
        let (peer, limits, busy) = (peer.as_ref(), &opened.limits, opened.connection.busy());
        let begun = span.within(|| begin(authority, peer, limits, *info, method, &request));
        let under_way = match begun {
            Ok(under_way) => under_way,
            Err(refused) => return at_once(&span, self.end(metrics)(until_sent(*refused, busy))),
        };
        let (share, connection) = (limits.share(), *info);
        let asked = Asked { authority, peer, share, buffers, connection, method };
        match span.within(|| answer_shortly(asked, request)) {
            Ok(Ok(answer)) => {
                let kept = Kept::new(metrics, under_way, busy);
                at_once(&span, respond(AnswerBody::whole(answer.frame, answer.outcome, kept, buffers)))
            }
            Ok(Err(refused)) => at_once(&span, self.end(metrics)(until_sent(*refused, (under_way, busy)))),
            Err(request) => {
                let (router, authority, info) = (router.clone(), Arc::clone(authority), *info);
                let (peer, limits) = (peer.cloned(), Arc::clone(limits));
                let (request, end) = (self.with_buffers(*request), self.end(metrics));
                Either::Right(Box::pin(async move {
                    let answer = call_guarded(router, &authority, peer.as_ref(), &limits, info, method, request);
                    let response = Box::pin(span.answered(answer)).await?;
                    Ok(end(until_sent(response, (under_way, busy))))
                }))
            }
        }
    }

    fn with_buffers(&self, mut request: Request<Body>) -> Request<Body> {
        request.extensions_mut().insert(Arc::clone(&self.buffers));
        request
    }

    /// Bounds an answer by the end of the connection, and counts it.
    fn end(&self, metrics: RequestMetrics) -> impl FnOnce(Response<Body>) -> Response<AnswerBody> + Send + use<> {
        let (authority, shutdown, buffers) =
            (Arc::clone(&self.authority), self.shutdown.clone(), Arc::clone(&self.buffers));
        move |response| bounded(response, shutdown, &authority, metrics).map(|body| AnswerBody::new(body, &buffers))
    }
}

fn at_once(span: &RequestSpan, response: Response<AnswerBody>) -> Answering {
    span.end(&response);
    Either::Left(ready(Ok(response)))
}
