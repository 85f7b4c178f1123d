//! Requests on the listeners without client certificates.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming as IncomingBody;
use hyper::service::Service;
use hyper::service::service_fn;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::authority::Authority;
use crate::authority::access::Sender;
use crate::server::middleware::AnswerBody;
use crate::server::middleware::Buffers;
use crate::server::middleware::Opened;
use crate::server::middleware::RequestMetrics;
use crate::server::middleware::RequestSpan;
use crate::server::middleware::WhyCut;
use crate::server::middleware::arrived;
use crate::server::middleware::called_method;
use crate::server::middleware::catch_panic;
use crate::server::middleware::head_bytes;
use crate::server::middleware::refused;
use crate::server::middleware::unless_cut;
use crate::server::middleware::until_sent;
use crate::server::middleware::with_body;
use crate::server::middleware::within_bounds;

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

/// Serves requests of any caller, and reports that one came. Those of probes, on connections that count for no share, are neither counted nor traced.
pub(super) fn unguarded(
    router: &Router,
    authority: Arc<Authority>,
    opened: Option<Arc<Opened>>,
    asks: watch::Sender<bool>,
    buffers: Arc<Buffers>,
) -> impl Service<Request<IncomingBody>, Response = Response<AnswerBody>, Error = Infallible, Future = Answering>
+ Send
+ 'static
+ use<> {
    let router = router.clone();
    service_fn(move |mut request: Request<IncomingBody>| {
        asks.send_replace(true);
        request.extensions_mut().insert(Arc::clone(&buffers));
        let buffers = Arc::clone(&buffers);
        let (router, authority, opened) = (router.clone(), Arc::clone(&authority), opened.clone());
        let method = called_method(&request);
        // No probe has a body.
        let (request, why) = match &opened {
            Some(opened) => within_bounds(request.map(arrived), method, opened.connection.share()),
            None => (request.map(|_| Body::empty()), WhyCut::default()),
        };
        let observed =
            opened.map(|opened| (RequestSpan::of(&request, method), RequestMetrics::begin(&authority, method), opened));
        let head = head_bytes(&request);
        let answering: Answering = Box::pin(async move {
            let headers = request.headers().clone();
            let answer = async {
                let response = router.oneshot(request).await?;
                let (response, headers) = (with_body(method, response), || headers.clone());
                Ok(unless_cut(&authority, Sender::default, method, headers, &why, response))
            };
            let answer = catch_panic(&authority, Sender::default, method, answer);
            let Some((span, mut metrics, opened)) = observed else {
                return Ok(answer.await?.map(|body| AnswerBody::new(body, &buffers)));
            };
            let response = match opened.limits.begin(method.priority(|| false), head) {
                Ok(under_way) => {
                    let kept = (under_way, opened.connection.busy());
                    until_sent(span.answered(answer).await?, kept)
                }
                Err(error) => refused(&authority, &Sender::default(), method, &headers, error),
            };
            metrics.answered(&response);
            Ok(response.map(|body| AnswerBody::new(body, &buffers)))
        });
        answering
    })
}
