//! What the fuzz targets check of the parsers of this protocol.

use prost::Message as _;

use crate::authority::decision;
use crate::grpc::MAX_REQUEST_BYTES;
use crate::grpc::binding_frames::BindingFrames;
use crate::grpc::binding_question::BindingQuestion;
use crate::grpc::check_question;
use crate::proto::ValidateBindingRequest;
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::trace_context::IncomingTrace;

/// The input as the body of a stream of requests, in pieces whose size is the first byte.
pub(crate) fn grpc_frames(input: &[u8]) {
    let Some((size, body)) = input.split_first() else { return };
    let (mut frames, mut read) = (BindingFrames::default(), Vec::new());
    for piece in body.chunks(usize::from(*size).max(1)) {
        frames.push(piece);
        while let Some(frame) = frames.next() {
            read.push(frame.question(|question| format!("{question:?}")));
        }
    }
    assert_eq!((read, frames.is_empty()), second_reading(body));
}

/// The same body where it arrives in one piece, by prost: its requests, and whether none is unfinished.
fn second_reading(mut rest: &[u8]) -> (Vec<String>, bool) {
    let mut expected = Vec::new();
    while let Some(([compressed, length @ ..], after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let decoded = if length > MAX_REQUEST_BYTES {
            rest = after.get(length..).unwrap_or_default();
            None
        } else {
            let Some((message, after)) = after.split_at_checked(length) else { break };
            rest = after;
            ValidateBindingRequest::decode(message).ok().filter(|_| *compressed == 0)
        };
        expected.push(format!("{:?}", BindingQuestion::of(&decoded.unwrap_or_default())));
    }
    (expected, rest.is_empty())
}

/// The input as the message of a check, and as that of a validation.
pub(crate) fn checks(input: &[u8]) {
    let decoded = CheckRequest::decode(input);
    if let Ok(read) = check_question::read(input) {
        let attributes = decoded.clone().map(|message| message.attributes.unwrap_or_default());
        let expected = attributes.as_ref().map(|attributes| seen(check_question::of(attributes)));
        assert_eq!(Ok(seen(read)), expected);
    }
    if let Ok(message) = decoded {
        let encoded = message.encode_to_vec();
        assert_eq!(CheckRequest::decode(encoded.as_slice()).as_ref(), Ok(&message));
        let attributes = message.attributes.unwrap_or_default();
        let request = check_question::of(&attributes);
        // As prost writes it, it can be read, unless there are too many headers.
        let headers = seen(request).map_or(0, |(headers, ..)| headers.len());
        assert!(check_question::read(&encoded).is_ok() || headers > check_question::MOST_HEADERS);
        if let Some(request) = check_question::of(&attributes) {
            crate::authority::fuzzing::headers_of_a_check(&request.headers);
            let trace = IncomingTrace::from_raw(&request.headers);
            let parents = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
            assert!(parents.count() == 1 || !trace.is_unsampled());
        }
    }
    let decoded = ValidateBindingRequest::decode(input);
    if let Ok(read) = BindingQuestion::read(input) {
        assert_eq!(Ok(read), decoded.as_ref().map(BindingQuestion::of));
    }
    if let Ok(message) = decoded {
        let (encoded, question) = (message.encode_to_vec(), BindingQuestion::of(&message));
        assert_eq!(BindingQuestion::read(&encoded).as_ref(), Ok(&question));
        drop(question.evidence());
    }
}

/// What a check sees of a request: its headers in a fixed order, and the rest.
type Seen<'a> = (Vec<(&'a str, &'a [u8])>, [&'a str; 7], Option<&'a str>);

fn seen(request: Option<decision::CheckRequest<'_>>) -> Option<Seen<'_>> {
    let decision::CheckRequest { destination, method, path, mut headers, certificate, principal, address } = request?;
    headers.retain(|(name, _)| check_question::is_read(name));
    headers.sort_unstable();
    let texts = [destination.principal, destination.authority, method, path, certificate, principal, address];
    Some((headers, texts, destination.named))
}
