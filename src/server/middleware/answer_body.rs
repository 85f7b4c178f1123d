//! The body of an answer, whose bytes are counted until they have been sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use hyper::body::Body as HttpBody;
use hyper::body::Buf;
use hyper::body::Frame;
use hyper::body::SizeHint;

use crate::authority::observe::RequestOutcome;
use crate::limits::Busy;
use crate::limits::UnderWay;
use crate::server::middleware::buffers::Buffers;
use crate::server::middleware::buffers::Unread;
use crate::server::middleware::metrics::RequestMetrics;

/// An answer whose bytes are held for a connection until they are dropped: hyper and h2 keep them while the peer's
/// window is closed, and drop them when they have been written.
#[derive(Debug)]
pub(in crate::server) struct AnswerBody {
    kind: Kind,
    buffers: Arc<Buffers>,
}

#[derive(Debug)]
enum Kind {
    /// Any body.
    Any(Body),
    /// One message of gRPC, and the status OK.
    Whole {
        frame: Option<Bytes>,
        /// `None` once the status is taken.
        rest: Option<(RequestOutcome, Kept)>,
    },
}

/// What counts a request, and as under way unless it is refused, until its answer is sent.
#[derive(Debug)]
pub(in crate::server) struct Kept {
    metrics: RequestMetrics,
    _under_way: (Option<UnderWay>, Busy),
}

impl Kept {
    pub(in crate::server) fn new(metrics: RequestMetrics, under_way: Option<UnderWay>, busy: Busy) -> Self {
        Self { metrics, _under_way: (under_way, busy) }
    }
}

impl AnswerBody {
    pub(in crate::server) fn new(body: Body, buffers: &Arc<Buffers>) -> Self {
        Self { kind: Kind::Any(body), buffers: Arc::clone(buffers) }
    }

    /// A framed message, with which a request ends.
    pub(in crate::server) fn whole(
        frame: Vec<u8>,
        outcome: RequestOutcome,
        kept: Kept,
        buffers: &Arc<Buffers>,
    ) -> Self {
        let kind = Kind::Whole { frame: Some(frame.into()), rest: Some((outcome, kept)) };
        Self { kind, buffers: Arc::clone(buffers) }
    }
}

/// Bytes, and what counts them.
#[derive(Debug)]
pub(in crate::server) struct Counted(Bytes, #[expect(dead_code, reason = "it counts until it is dropped")] Unread);

impl Buf for Counted {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

impl HttpBody for AnswerBody {
    type Data = Counted;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Counted>, axum::Error>>> {
        let Self { kind, buffers } = &mut *self;
        let counted = |data: Bytes| {
            let unread = buffers.hold_unread(data.len());
            Counted(data, unread)
        };
        match kind {
            Kind::Any(body) => Pin::new(body).poll_frame(context).map_ok(|frame| frame.map_data(counted)),
            Kind::Whole { frame, rest } => Poll::Ready(match frame.take() {
                Some(data) => Some(Ok(Frame::data(counted(data)))),
                None => rest.take().map(|(outcome, mut kept)| {
                    kept.metrics.ended(outcome);
                    let mut trailers = HeaderMap::with_capacity(1);
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    Ok(Frame::trailers(trailers))
                }),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Any(body) => body.is_end_stream(),
            Kind::Whole { frame, rest } => frame.is_none() && rest.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Any(body) => body.size_hint(),
            Kind::Whole { .. } => SizeHint::default(),
        }
    }
}
