//! Requests of a stream, each of which can be read.
//!
//! tonic ends a stream at the first message that it cannot decode or that is too large. A proxy passes on what its clients
//! send, and one of them could then end the stream that all the others' requests go over, by a single byte that is not
//! UTF-8. So such a message is replaced, before tonic sees it, by an empty one: that has no token, which is an error for
//! this request and no other. It is done to the bytes, for the one method that has a stream of requests, because tonic asks
//! no decoder about a message that is too large, and because its codec is chosen for whole services.

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

/// An uncompressed message of no bytes.
const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// A body of `ValidateBindingRequest`s in gRPC's framing: a byte that says whether the message is compressed, which none
/// may be, its length in four, and the message. It keeps no more of it than one message and one frame of HTTP.
#[derive(Debug)]
pub(super) struct Readable {
    body: Body,
    arrived: BytesMut,
    /// How much is still to come of a message that is too large and has been replaced already.
    rest: u64,
}

impl Readable {
    pub(super) fn new(body: Body) -> Self {
        Self { body, arrived: BytesMut::new(), rest: 0 }
    }

    /// The next message, once it has arrived whole.
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
                // It broke off within a message: whoever reads it shall see that.
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
