//! How long a request takes and how it ends, from its head to the end of its answer.
//!
//! A gRPC answer ends with its status, in its head or behind its body; an HTTP answer is told by its code. A stream counts
//! once, at its end. One that ends because its connection has reached its end has done what it was for.

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

/// A request that is being answered. Where it is dropped before its end, the caller went away.
#[derive(Debug)]
pub(in crate::server) struct RequestMetrics {
    authority: Arc<Authority>,
    method: CalledMethod,
    began: Instant,
    /// What the protocol says that an answer without a gRPC error came to.
    said: RequestOutcome,
    over: bool,
}

impl RequestMetrics {
    /// A request for this method begins now.
    pub(in crate::server) fn begin(authority: &Arc<Authority>, method: CalledMethod) -> Self {
        let authority = Arc::clone(authority);
        Self { authority, method, began: Instant::now(), said: RequestOutcome::Ok, over: false }
    }

    /// Looks at the head of the answer, which says it all except where a gRPC status follows behind the body.
    pub(in crate::server) fn answered(&mut self, response: &Response<Body>) {
        if !is_grpc(response.headers().get(CONTENT_TYPE)) {
            return self.ended(by_http(response.status()));
        }
        self.said = response.extensions().get().copied().unwrap_or(RequestOutcome::Ok);
        self.told(response.headers());
    }

    /// Looks for a gRPC status, which is the end.
    pub(in crate::server) fn told(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let code = Code::from_bytes(status.as_bytes());
            self.ended(if code == Code::Ok { self.said } else { by_grpc(code) });
        }
    }

    /// The request has ended. What comes after that is not looked at.
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
