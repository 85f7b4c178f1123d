//! In front of all routes of the mTLS listener: the access table is asked before anything is parsed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use tower::ServiceExt as _;

use crate::authority::Authority;
use crate::authority::access;
use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::observe::AuditEvent;
use crate::authority::state::View;
use crate::grpc::ext_authz;
use crate::grpc::status;
use crate::http::error::OAuthError;
use crate::http::introspect;
use crate::server::middleware::catch_panic::CatchPanic;
use crate::server::middleware::catch_panic::is_grpc;

/// Answers a request, if its caller may ask. What breaks on the way is this request's end alone.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    CatchPanic::of(&request).answered(authority, entered(router, authority, view, peer, request)).await
}

async fn entered(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    match authority.authorize(view, peer.map(Arc::as_ref), request.uri().path()) {
        Ok(caller) => {
            if let Some(peer) = peer {
                // For streams, each message of which has to enter anew.
                request.extensions_mut().insert(Arc::clone(peer));
            }
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let check = request.uri().path() == ext_authz::CHECK;
            let response = router.oneshot(request).await?;
            Ok(if check { ext_authz::into_denied_response(response) } else { response })
        }
        Err(error) => Ok(refused(authority, peer, &request, error)),
    }
}

/// The answer to a call that is not admitted.
pub(in crate::server) fn refused(
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    request: &Request<Body>,
    error: NotAdmitted,
) -> Response<Body> {
    authority.metrics().call_refused(error);
    let (peer, method) = (peer.map(Arc::as_ref), access::metric_label(request.uri().path()));
    AuditEvent::NotAdmitted { peer, method, error, stream: false }.record();
    refuse(request, error)
}

/// In the voice that the caller speaks.
fn refuse(request: &Request<Body>, error: NotAdmitted) -> Response<Body> {
    if request.uri().path() == ext_authz::CHECK {
        return ext_authz::not_admitted(error);
    }
    if is_grpc(request.headers().get(CONTENT_TYPE)) {
        return status::not_admitted(error).into_http();
    }
    // The OAuth endpoints have errors of their own (RFC 6749 section 5.2); elsewhere the status says it all.
    if request.uri().path().starts_with("/oauth2/") && error != NotAdmitted::NoSuchMethod {
        let error = OAuthError::not_admitted(error);
        let signed = request.uri().path() == "/oauth2/introspect" && introspect::wants_signed(request.headers());
        return if signed { error.as_refusal_of_signed_response() } else { error }.into_response();
    }
    let code = match error {
        NotAdmitted::NoSuchMethod => StatusCode::NOT_FOUND,
        NotAdmitted::NoCertificate | NotAdmitted::Unproven(_) | NotAdmitted::NotForwarded(_) => {
            StatusCode::UNAUTHORIZED
        }
        NotAdmitted::WrongRole => StatusCode::FORBIDDEN,
    };
    code.into_response()
}
