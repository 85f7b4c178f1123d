//! HTTP on a connection, within its bounds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::future::ready;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Version;
use axum::http::header::CONNECTION;
use futures_util::future::Either;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::http::error::invalid_host;
use crate::server::bounds;
use crate::server::bounds::UNREAD_TIME;
use crate::server::executor::Together;
use crate::server::middleware::AnswerBody;
use crate::server::middleware::Buffers;
use crate::server::transport::gathered::Gathered;
use crate::server::transport::host;
use crate::server::transport::stream::Stream;

/// How long requests may still take that are under way at a connection's maximum age.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// How long an HTTP/1.1 connection at its end is kept open for a request that may be on its way. HTTP/1.1 has no
/// GOAWAY: a client learns of the end by `connection: close` in a response, or when the connection ends, which its next
/// request may cross.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Serves HTTP/2, or else the version that the peer begins with, until the peer disconnects or reads no answers, or
/// `end` completes and the requests under way are answered. `buffers` holds what the peer does not read.
pub(super) async fn serve_http<S, V>(
    http2: bool,
    stream: S,
    service: V,
    buffers: Arc<Buffers>,
    end: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible> + Send + 'static,
    V::Future: Send + 'static,
{
    let closing = Arc::new(AtomicBool::new(false));
    let service = Versions { service, closing: Arc::clone(&closing), buffers: Arc::clone(&buffers) };
    let requests = Together::default();
    let builder = bounds::builder(http2, requests.clone());
    let stream = Gathered::new(Stream::new(stream));
    let connection = pin!(builder.serve_connection(TokioIo::new(stream.shared()), service));
    let mut serving = Serving { connection, requests, stream, over: false };
    let stalled = buffers.stalled(|| tokio::time::sleep(UNREAD_TIME));
    tokio::select! {
        // An error here is caused by the peer: it disconnected, or did not send HTTP.
        () = serving.ended() => return,
        () = stalled => return tracing::debug!("a connection was ended whose peer reads no answers"),
        () = end => {}
    }
    if !http2 {
        closing.store(true, Ordering::Relaxed);
        if tokio::time::timeout(LAST_ANSWER, serving.ended()).await.is_ok() {
            return;
        }
    }
    serving.connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(LAST_REQUESTS, serving.ended()).await.is_err() {
        tracing::debug!("a connection did not end in time");
    }
}

/// A service, and what the versions of HTTP ask for besides.
struct Versions<V> {
    service: V,
    /// Whether the connection is at its end.
    closing: Arc<AtomicBool>,
    buffers: Arc<Buffers>,
}

type Answer = Result<Response<AnswerBody>, Infallible>;

impl<V> Service<Request<Incoming>> for Versions<V>
where
    V: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>,
    V::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Either<V::Future, Pin<Box<dyn Future<Output = Answer> + Send>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (is_head, http2) = (request.method() == Method::HEAD, request.version() == Version::HTTP_2);
        let is_allowed = host::is_allowed(request.version(), request.headers());
        let answer = is_allowed.then(|| self.service.call(request));
        let (closing, buffers) = (Arc::clone(&self.closing), Arc::clone(&self.buffers));
        match answer {
            Some(answer) if http2 && !is_head => Either::Left(answer),
            Some(answer) => Either::Right(Box::pin(async move {
                let mut response = answer.await?;
                if http2 {
                    // Over HTTP/1.1, hyper does not send the body of an answer to HEAD.
                    *response.body_mut() = AnswerBody::new(Body::empty(), &buffers);
                } else if closing.load(Ordering::Relaxed) {
                    // HTTP/2 uses GOAWAY instead.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(response)
            })),
            None => {
                let mut refused = invalid_host();
                refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                Either::Right(Box::pin(ready(Ok(refused.map(|body| AnswerBody::new(body, &buffers))))))
            }
        }
    }
}

/// A connection, with its requests over HTTP/2, and what it writes.
struct Serving<'a, C, S> {
    connection: Pin<&'a mut C>,
    requests: Together,
    stream: Gathered<S>,
    /// The connection has ended, and only what it has written is still to be sent.
    over: bool,
}

impl<C: Future, S: AsyncWrite + Unpin> Serving<'_, C, S> {
    /// Completes when the connection has ended, or what it writes cannot be sent.
    fn ended(&mut self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let Self { connection, requests, stream, over } = self;
            if !*over {
                *over = requests.poll(|| connection.as_mut().poll(context)).is_ready();
            }
            match stream.poll_send(context) {
                Poll::Ready(Ok(())) if !*over => Poll::Pending,
                sent @ (Poll::Ready(_) | Poll::Pending) => sent.map(drop),
            }
        })
    }
}
