//! What the fuzz targets check of the parsers of this protocol.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Body as _;
use hyper::body::Frame;
use prost::Message as _;
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use crate::grpc::MAX_REQUEST_BYTES;
use crate::grpc::bindings;
use crate::grpc::ext_authz;
use crate::grpc::readable::Readable;
use crate::proto::ValidateBindingRequest;
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::trace_context::IncomingTrace;

/// The input as the body of a stream of requests, in pieces whose size is the first byte.
pub(crate) fn grpc_frames(input: &[u8]) {
    let Some((size, body)) = input.split_first() else { return };
    let pieces = body.chunks(usize::from(*size).max(1)).map(Bytes::copy_from_slice).map(Frame::data);
    let pieces: Vec<Result<Frame<Bytes>, Status>> = pieces.map(Ok).collect();
    let mut readable = Readable::new(Body::new(StreamBody::new(stream::iter(pieces))));
    let mut context = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    loop {
        match Pin::new(&mut readable).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => read.extend(frame.into_data().unwrap_or_default()),
            Poll::Ready(Some(Err(error))) => unreachable!("{error}"),
            Poll::Ready(None) => break,
            Poll::Pending => unreachable!("all of the body is there"),
        }
    }
    assert_eq!(read, second_reading(body));
}

/// The same body where it arrives in one piece.
fn second_reading(mut rest: &[u8]) -> Vec<u8> {
    let mut expected = Vec::new();
    while let Some(([compressed, length @ ..], after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_REQUEST_BYTES {
            expected.extend([0; 5]);
            rest = after.get(length..).unwrap_or_default();
            continue;
        }
        let Some((message, after)) = after.split_at_checked(length) else { break };
        if *compressed == 0 && ValidateBindingRequest::decode(message).is_ok() {
            expected.extend(rest.iter().take(length + 5));
        } else {
            expected.extend([0; 5]);
        }
        rest = after;
    }
    expected.extend(rest);
    expected
}

/// The input as the message of a check, and as that of a validation.
pub(crate) fn checks(input: &[u8]) {
    if let Ok(message) = CheckRequest::decode(input) {
        let again = CheckRequest::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.ok().as_ref(), Some(&message));
        if let Some(request) = message.attributes.as_ref().and_then(ext_authz::read) {
            crate::authority::fuzzing::headers_of_a_check(&request.headers);
            let trace = IncomingTrace::from_raw(&request.headers);
            let parents = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
            assert!(parents.count() == 1 || !trace.is_unsampled());
        }
    }
    if let Ok(message) = ValidateBindingRequest::decode(input) {
        drop(bindings::evidence(message.evidence));
    }
}
