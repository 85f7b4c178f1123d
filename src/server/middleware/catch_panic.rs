//! A panic while a request is answered: a fault of ours, which ends that request and nothing else. It is counted, and logged
//! without what the panic says, which may hold what a caller sent.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::Uri;

use crate::authority::Authority;
use crate::authority::access;
use crate::authority::decision::CheckRefusal;
use crate::grpc::ext_authz;
use crate::grpc::status;

/// What has to be known of a request to say, when all else of it is lost, that it failed.
#[derive(Debug)]
pub(in crate::server) struct CatchPanic {
    uri: Uri,
    grpc: bool,
}

impl CatchPanic {
    pub(in crate::server) fn of<B>(request: &Request<B>) -> Self {
        Self { uri: request.uri().clone(), grpc: is_grpc(request.headers().get(CONTENT_TYPE)) }
    }

    /// The answer, or that there is none because something broke.
    pub(in crate::server) async fn answered(
        self,
        authority: &Authority,
        answer: impl Future<Output = Result<Response<Body>, Infallible>>,
    ) -> Result<Response<Body>, Infallible> {
        // What a request shares with others is either locked, which a panic leaves whole (see `change_snapshot`), or swapped.
        if let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await {
            return answer;
        }
        report(authority, access::metric_label(self.uri.path()));
        Ok(self.broken(authority))
    }

    /// In the voice that the caller speaks.
    fn broken(&self, authority: &Authority) -> Response<Body> {
        if self.uri.path() == ext_authz::CHECK {
            // An error could let the request through.
            return ext_authz::unread(authority, CheckRefusal::Unable);
        }
        if self.grpc {
            return status::broken().into_http();
        }
        (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
    }
}

/// Whether a message is gRPC's.
pub(in crate::server) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Takes note of a panic.
pub(in crate::server) fn report(authority: &Authority, method: &'static str) {
    authority.metrics().panicked();
    tracing::error!(method, "a request ended in a panic");
}
