//! The body of an answer, whose bytes are counted until they have been sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use axum::body::Body;
use axum::body::Bytes;
use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use hyper::body::SizeHint;

use crate::server::middleware::Buffers;
use crate::server::middleware::Unread;

/// An answer whose bytes are held for a connection until they are dropped: hyper and h2 keep them while the peer's
/// window is closed, and drop them when they have been written.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    buffers: Arc<Buffers>,
}

impl AnswerBody {
    pub(super) fn new(body: Body, buffers: Arc<Buffers>) -> Self {
        Self { body, buffers }
    }
}

/// Bytes, and what counts them.
struct Counted(Bytes, #[expect(dead_code, reason = "it counts until it is dropped")] Unread);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(context).map_ok(|frame| {
            frame.map_data(|data| {
                let unread = this.buffers.hold_unread(data.len());
                Bytes::from_owner(Counted(data, unread))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
