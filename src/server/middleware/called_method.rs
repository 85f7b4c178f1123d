//! The method that a request calls, and the size of its head. This is the only place that looks up the access table.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use hyper::Request;

use crate::authority::access::CalledMethod;

/// Looks the method up once; the result is passed to all code that needs it.
pub(in crate::server) fn called_method<B>(request: &Request<B>) -> CalledMethod {
    CalledMethod::find(request.uri().path(), is_grpc(request.headers().get(CONTENT_TYPE)))
}

/// Whether a content type is gRPC's.
pub(in crate::server) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What a request's head takes in memory: its target and its fields.
pub(in crate::server) fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    fields.fold(target, usize::saturating_add)
}

/// What a field takes besides its name and its value (RFC 9113 section 10.5.1 counts as much).
const FIELD_BYTES: usize = 32;
