//! The duration and the outcome of a request, from its head to the end of its response.
//!
//! The outcome of a gRPC response is its status, in the headers or the trailers; that of an HTTP response is its status
//! code. A stream is counted once, at its end. A stream that ends because its connection has reached its end is a
//! success.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use hyper::Response;
use hyper::StatusCode;
use tokio::time::Instant;
use tonic::Code;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::observe::RequestOutcome;
use crate::server::middleware::called_method::is_grpc;

/// A request that is being answered. If this is dropped before the end, the caller has disconnected.
#[derive(Debug)]
pub(in crate::server) struct RequestMetrics {
    authority: Arc<Authority>,
    method: CalledMethod,
    began: Instant,
    /// The outcome of a response without a gRPC error, as set by the protocol's handler.
    reported: RequestOutcome,
    over: bool,
}

impl RequestMetrics {
    /// Starts the measurement of a request for this method.
    pub(in crate::server) fn begin(authority: &Arc<Authority>, method: CalledMethod) -> Self {
        let authority = Arc::clone(authority);
        Self { authority, method, began: Instant::now(), reported: RequestOutcome::Ok, over: false }
    }

    /// Reads the outcome from the head of the response. Only a gRPC status in the trailers comes later.
    pub(in crate::server) fn answered(&mut self, response: &Response<Body>) {
        if !is_grpc(response.headers().get(CONTENT_TYPE)) {
            let reported = response.extensions().get().copied();
            return self.ended(reported.unwrap_or_else(|| by_http(response.status())));
        }
        self.reported = response.extensions().get().copied().unwrap_or(RequestOutcome::Ok);
        self.read_status(response.headers());
    }

    /// Looks for a gRPC status, which ends the request.
    pub(in crate::server) fn read_status(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let code = Code::from_bytes(status.as_bytes());
            self.ended(if code == Code::Ok { self.reported } else { by_grpc(code) });
        }
    }

    /// Records the end of the request. Later calls have no effect.
    pub(in crate::server) fn ended(&mut self, outcome: RequestOutcome) {
        if !std::mem::replace(&mut self.over, true) {
            self.authority.metrics().requests().ended(self.method, outcome, self.began.elapsed());
        }
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        self.ended(RequestOutcome::Refused);
    }
}

fn by_http(status: StatusCode) -> RequestOutcome {
    if status.is_server_error() {
        RequestOutcome::Error
    } else if status.is_client_error() {
        RequestOutcome::Refused
    } else {
        RequestOutcome::Ok
    }
}

pub(in crate::server) fn by_grpc(code: Code) -> RequestOutcome {
    match code {
        Code::Ok => RequestOutcome::Ok,
        Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss => {
            RequestOutcome::Error
        }
        Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => RequestOutcome::Refused,
    }
}
