//! The messages of a `ValidateBindings` stream, out of the pieces in which they arrive.
//!
//! tonic ends a stream at the first message that it cannot decode or that is too large. A proxy passes on what its
//! clients send, so one client could end the stream that carries all the others' requests with a single byte that is
//! not UTF-8. Here such a message counts as an empty one: it has no token, which is an error for this request only.

use prost::Message as _;
use prost::bytes::Buf as _;
use prost::bytes::Bytes;
use prost::bytes::BytesMut;

use crate::grpc::MAX_REQUEST_BYTES;
use crate::grpc::binding_question::BindingQuestion;
use crate::grpc::wire::HEAD_BYTES;
use crate::proto::ValidateBindingRequest;

/// What has arrived and was not read: at most one message and one HTTP frame.
#[derive(Debug, Default)]
pub(super) struct BindingFrames {
    arrived: BytesMut,
    /// How many bytes remain of a message that is too large and was read as an empty one.
    rest: u64,
}

/// One whole message.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct BindingFrame(Bytes);

impl BindingFrames {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.arrived.extend_from_slice(piece);
    }

    /// Whether nothing is left of an unfinished message.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// The next message, once it is complete.
    pub(super) fn next(&mut self) -> Option<BindingFrame> {
        let passed = self.arrived.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
        self.arrived.advance(passed);
        self.rest = self.rest.saturating_sub(passed.try_into().unwrap_or(u64::MAX));
        let [compressed, length @ ..] = *self.arrived.first_chunk::<HEAD_BYTES>()?;
        let length = u32::from_be_bytes(length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_REQUEST_BYTES {
            self.arrived.advance(HEAD_BYTES);
            self.rest = length.into();
            return Some(BindingFrame(Bytes::new()));
        }
        if self.arrived.len() < HEAD_BYTES.saturating_add(size) {
            return None;
        }
        self.arrived.advance(HEAD_BYTES);
        let message = self.arrived.split_to(size).freeze();
        Some(BindingFrame(if compressed == 0 { message } else { Bytes::new() }))
    }
}

impl BindingFrame {
    /// Hands the request to `read`; one without a token where the message is not readable.
    pub(super) fn question<T>(&self, read: impl FnOnce(&BindingQuestion<'_>) -> T) -> T {
        if let Ok(question) = BindingQuestion::read(&self.0) {
            return read(&question);
        }
        // What is refused there may be readable to prost.
        let message = ValidateBindingRequest::decode(self.0.clone()).unwrap_or_default();
        read(&BindingQuestion::of(&message))
    }
}
