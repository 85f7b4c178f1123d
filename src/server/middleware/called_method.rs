//! Which method a request calls: the one place in which the access table is asked.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use hyper::Request;

use crate::authority::access::CalledMethod;

/// Looks the method up. The value is handed to all that need it.
pub(in crate::server) fn called_method<B>(request: &Request<B>) -> CalledMethod {
    CalledMethod::find(request.uri().path(), is_grpc(request.headers().get(CONTENT_TYPE)))
}

/// Whether a message is gRPC's.
pub(in crate::server) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
