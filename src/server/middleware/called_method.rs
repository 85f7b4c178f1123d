//! The method that a request calls. This is the only place that looks up the access table.

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
