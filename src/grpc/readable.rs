//! Replaces messages of a request stream that tonic could not decode.
//!
//! tonic ends a stream at the first message that it cannot decode or that is too large. A proxy passes on what its
//! clients send, so one client could end the stream that carries all the others' requests with a single byte that is
//! not UTF-8. Such a message is therefore replaced by an empty one before tonic sees it. An empty message has no token,
//! which is an error for this request only. The replacement works on the bytes, for the one method that has a stream of
//! requests, because tonic does not call the decoder for a message that is too large, and because its codec is chosen
//! for whole services.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use hyper::body::Body as HttpBody;
use hyper::body::Frame;
use prost::Message as _;
use prost::bytes::Buf as _;
use prost::bytes::Bytes;
use prost::bytes::BytesMut;
use tonic::Status;
use tonic::body::Body;

use crate::grpc::MAX_REQUEST_BYTES;
use crate::proto::ValidateBindingRequest;

/// The frame of an uncompressed empty message.
const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// A body of `ValidateBindingRequest`s in gRPC framing: a one-byte compressed flag, which must be zero, a four-byte
/// length, and the message. It buffers at most one message and one HTTP frame.
#[derive(Debug)]
pub(super) struct Readable {
    body: Body,
    arrived: BytesMut,
    /// How many bytes remain of a message that is too large and has already been replaced.
    rest: u64,
}

impl Readable {
    pub(super) fn new(body: Body) -> Self {
        Self { body, arrived: BytesMut::new(), rest: 0 }
    }

    /// The next message, once it is complete.
    fn message(&mut self) -> Option<Bytes> {
        let passed = self.arrived.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
        self.arrived.advance(passed);
        self.rest = self.rest.saturating_sub(passed.try_into().unwrap_or(u64::MAX));
        let [compressed, length @ ..] = *self.arrived.first_chunk::<5>()?;
        let length = u32::from_be_bytes(length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_REQUEST_BYTES {
            self.arrived.advance(EMPTY.len());
            self.rest = length.into();
            return Some(EMPTY);
        }
        let whole = EMPTY.len().saturating_add(size);
        if self.arrived.len() < whole {
            return None;
        }
        let message = self.arrived.split_to(whole).freeze();
        let decoded = ValidateBindingRequest::decode(message.slice(EMPTY.len()..));
        Some(if compressed == 0 && decoded.is_ok() { message } else { EMPTY })
    }
}

impl HttpBody for Readable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(message) = self.message() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            let Some(frame) = std::task::ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()? else {
                // The body ended within a message. The reader gets the incomplete frame and reports it.
                let arrived = self.arrived.split().freeze();
                return Poll::Ready((!arrived.is_empty()).then(|| Ok(Frame::data(arrived))));
            };
            match frame.into_data() {
                Ok(data) => self.arrived.extend_from_slice(&data),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}
