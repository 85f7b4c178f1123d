//! What a request holds of its caller's share: the bytes of its body, and its place among the requests under way until its
//! answer is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Body;
use axum::body::Bytes;
use hyper::Request;
use hyper::Response;
use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use hyper::body::SizeHint;

use crate::authority::access::CalledMethod;
use crate::authority::access::Exceeded;
use crate::limits::CallerLimits;
use crate::limits::Hold;

/// The largest request, in bytes. Of a stream of requests, what came before that is handled by then.
const LARGEST: usize = 1024 * 1024;

/// What the body of a request exceeded.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome(Arc<Mutex<Option<Exceeded>>>);

impl Outcome {
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the bytes of a request's body for the share, from their arrival until the body has been read.
pub(super) fn counted(request: Request<Body>, method: CalledMethod, limits: &CallerLimits) -> (Request<Body>, Outcome) {
    let outcome = Outcome::default();
    if request.body().is_end_stream() || method.entry().is_some_and(|entry| entry.counts_own_bytes) {
        return (request, outcome);
    }
    let (hold, counting) = (limits.hold(), outcome.clone());
    (request.map(|body| Body::new(Counted { body, hold, held: 0, outcome: counting })), outcome)
}

struct Counted {
    body: Body,
    hold: Hold,
    held: usize,
    outcome: Outcome,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let held = self.held.saturating_add(data.len()).min(LARGEST);
            self.held = held;
            if let Err(exceeded) = self.hold.set(held) {
                *self.outcome.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(exceeded);
                return Poll::Ready(Some(Err(axum::Error::new("the caller's share is used up"))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Keeps what counts a request as under way until its answer is sent.
pub(in crate::server) fn until_sent(response: Response<Body>, kept: impl Send + Unpin + 'static) -> Response<Body> {
    response.map(|body| Body::new(UntilSent { body, _kept: kept }))
}

struct UntilSent<K> {
    body: Body,
    _kept: K,
}

impl<K: Unpin> HttpBody for UntilSent<K> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
