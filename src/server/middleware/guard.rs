//! In front of all routes of the mTLS listener: the access table decides before anything is parsed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use hyper::Request;
use hyper::Response;
use tower::ServiceExt as _;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::observe::AuditEvent;
use crate::authority::state::View;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::refusal;

/// Answers a request for this method, if its caller may ask. What breaks on the way is this request's end alone.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    catch_panic(authority, method, entered(router, authority, view, peer, method, request)).await
}

async fn entered(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    method: CalledMethod,
    mut request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    match authority.authorize(view, peer.map(Arc::as_ref), method) {
        Ok(caller) => {
            if let Some(peer) = peer {
                // For streams, each message of which has to enter anew.
                request.extensions_mut().insert(Arc::clone(peer));
            }
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = router.oneshot(request).await?;
            Ok(refusal::answered(method.protocol(), response))
        }
        Err(error) => Ok(refused(authority, peer, method, request.headers(), error)),
    }
}

/// The answer to a call that is not admitted.
pub(in crate::server) fn refused(
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    method: CalledMethod,
    headers: &HeaderMap,
    error: NotAdmitted,
) -> Response<Body> {
    authority.metrics().call_refused(error);
    let peer = peer.map(Arc::as_ref);
    AuditEvent::NotAdmitted { peer, method: method.metric_label(), error, stream: false }.record();
    refusal::not_admitted(method, headers, error)
}
