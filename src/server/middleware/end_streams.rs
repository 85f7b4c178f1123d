//! Ends response streams that would outlive their connection with UNAVAILABLE, on which every gRPC client retries
//! elsewhere. After a connection that is just closed, a client has to guess.

use std::panic;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use hyper::Response;
use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tokio::sync::watch;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::observe::RequestOutcome;
use crate::grpc::status;
use crate::server::middleware::called_method::is_grpc;
use crate::server::middleware::catch_panic;
use crate::server::middleware::metrics::RequestMetrics;

/// A gRPC response that ends when `over` becomes true: at once if it has nothing ready to send, or if it is a stream
/// that always has more to send. A complete response is sent whole; a response that panics ends with INTERNAL.
pub(in crate::server) fn bounded(
    response: Response<Body>,
    over: watch::Receiver<bool>,
    authority: &Arc<Authority>,
    mut metrics: RequestMetrics,
) -> Response<Body> {
    metrics.answered(&response);
    if is_grpc(response.headers().get(CONTENT_TYPE)) {
        let authority = Arc::clone(authority);
        let (shutdown, sent) = (Shutdown::NotPolled(over), MessagesSent::Nothing);
        response.map(|body| Body::new(Bounded { body, authority, shutdown, sent, metrics }))
    } else {
        response
    }
}

struct Bounded {
    body: Body,
    authority: Arc<Authority>,
    shutdown: Shutdown,
    sent: MessagesSent,
    metrics: RequestMetrics,
}

/// How many messages of a response have been sent. A frame holds whole messages.
#[derive(Clone, Copy)]
enum MessagesSent {
    Nothing,
    /// The response of a unary call, or the first message of a stream.
    Once,
    /// More than one message, so the response is a stream.
    More,
}

impl MessagesSent {
    fn and(self) -> Self {
        match self {
            Self::Nothing => Self::Once,
            Self::Once | Self::More => Self::More,
        }
    }
}

/// The signal to end streams. It is polled lazily, because most responses are complete when they start and never need
/// it.
enum Shutdown {
    NotPolled(watch::Receiver<bool>),
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    Fired,
}

impl Shutdown {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::NotPolled(over) => {
                    let mut over = over.clone();
                    *self = Self::Waiting(Box::pin(async move { drop(over.wait_for(|over| *over).await) }));
                }
                Self::Waiting(end) => return end.as_mut().poll(context),
                Self::Fired => return Poll::Ready(()),
            }
        }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if matches!(self.shutdown, Shutdown::Fired) {
            return Poll::Ready(None);
        }
        // A peer that never stops sending requests would keep its connection open indefinitely.
        let cut = matches!(self.sent, MessagesSent::More) && self.shutdown.poll(context).is_ready();
        let body = Pin::new(&mut self.body);
        // A body that has panicked is not polled again.
        let polled =
            panic::catch_unwind(AssertUnwindSafe(|| if cut { Poll::Pending } else { body.poll_frame(context) }));
        let Ok(polled) = polled else {
            self.shutdown = Shutdown::Fired;
            self.metrics.ended(RequestOutcome::Error);
            catch_panic::report(&self.authority, "a stream");
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status::broken())))));
        };
        if cut || polled.is_pending() && self.shutdown.poll(context).is_ready() {
            self.shutdown = Shutdown::Fired;
            self.metrics.ended(RequestOutcome::Ok);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status::connection_over())))));
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) => self.metrics.read_status(trailers),
                None => self.sent = self.sent.and(),
            },
            // A response that fails has no status.
            Poll::Ready(Some(Err(_)) | None) => self.metrics.ended(RequestOutcome::Error),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.shutdown, Shutdown::Fired) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // This fails only for bytes that are not valid in a header. Without a status the client treats the response as
    // failed.
    drop(status.add_header(&mut trailers));
    trailers
}
