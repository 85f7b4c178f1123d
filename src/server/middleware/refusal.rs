//! The response, in the protocol of the request, to a request that does not reach its method or fails there.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use hyper::Response;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Protocol;
use crate::authority::access::Sender;
use crate::authority::decision::CheckRefusal;
use crate::authority::observe::RequestOutcome;
use crate::authority::reference::Reference;
use crate::grpc;
use crate::grpc::ext_authz;
use crate::http;
use crate::http::error::OAuthError;
use crate::http::introspect;

/// The response to a call that is not admitted and has these headers. `centre` is who has what an edge does not.
pub(super) fn not_admitted(
    centre: &str,
    method: CalledMethod,
    headers: &HeaderMap,
    error: NotAdmitted,
    reference: Reference,
) -> Response<Body> {
    let is_edge = error == NotAdmitted::NotAtAnEdge;
    let mut response = match method.protocol() {
        Protocol::Grpc => {
            let mut status = grpc::status::not_admitted(error);
            if is_edge {
                status = grpc::status::naming_the_centre(&status, centre);
            }
            grpc::status::referring(&status, reference).into_http()
        }
        Protocol::OAuth => match OAuthError::not_admitted(error) {
            Some(error) => {
                let may_be_signed = method.entry().is_some_and(|entry| entry.signed_on_request);
                let signed = may_be_signed && introspect::wants_signed(headers);
                let error = if is_edge { error.naming_the_centre(centre) } else { error };
                let error = error.challenging(headers).referring(reference);
                if signed { error.as_refusal_of_signed_response() } else { error }.into_response()
            }
            None => http::error::no_such_path(true),
        },
        Protocol::ExtAuthz => ext_authz::response(ext_authz::not_admitted(error, reference)),
        Protocol::Http => http::not_admitted::not_admitted(error, headers, reference),
    };
    // Also where it is a 503: nothing in the server has failed.
    response.extensions_mut().insert(RequestOutcome::Refused);
    response
}

/// The response to a request that failed internally. It does not disclose the cause.
pub(super) fn broken(authority: &Authority, sender: &Sender, protocol: Protocol) -> Response<Body> {
    match protocol {
        Protocol::Grpc => grpc::status::broken().into_http(),
        Protocol::OAuth | Protocol::Http => http::error::broken(),
        // A gRPC error could let the request through (see `failure_mode_allow`).
        Protocol::ExtAuthz => ext_authz::unread(authority, sender, CheckRefusal::Unable),
    }
}

/// Converts the response of a method. Code that rejects a check before the method, such as tonic, returns only errors.
pub(super) fn answered(
    authority: &Authority,
    sender: impl FnOnce() -> Sender,
    method: CalledMethod,
    response: Response<Body>,
) -> Response<Body> {
    match method.protocol() {
        Protocol::Grpc | Protocol::OAuth | Protocol::Http => with_body(method, response),
        Protocol::ExtAuthz => ext_authz::into_denied_response(authority, sender, response),
    }
}

/// Adds a body to a refusal of the router, which has none: no such path, or another HTTP method.
pub(in crate::server) fn with_body(method: CalledMethod, response: Response<Body>) -> Response<Body> {
    match method.protocol() {
        Protocol::Grpc | Protocol::ExtAuthz => response,
        Protocol::OAuth => http::error::with_body(response, true),
        Protocol::Http => http::error::with_body(response, false),
    }
}

/// The answer, with this status, to a request whose body was not read to its end. gRPC has ended such a request with a
/// status of its own.
pub(super) fn cut_off(method: CalledMethod, status: StatusCode, answer: Response<Body>) -> Response<Body> {
    match method.protocol() {
        Protocol::Grpc | Protocol::ExtAuthz => answer,
        Protocol::OAuth => http::error::cut_off(status, true),
        Protocol::Http => http::error::cut_off(status, false),
    }
}
