//! A request's place among those under way, which it keeps until its answer is sent.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use axum::body::Body;
use axum::body::Bytes;
use hyper::Response;
use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use hyper::body::SizeHint;

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
