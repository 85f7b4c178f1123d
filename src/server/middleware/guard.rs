//! Authorization in front of all routes of the mTLS listener: the access table decides before the request is parsed.

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
use crate::authority::state::View;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::refusal;

/// Answers a request for this method if its caller is authorized. A panic ends this request only.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let answer = async { admit(router, authority, authority.view(), peer, method, request).await };
    catch_panic(authority, method, answer).await
}

/// Answers a request without catching panics, using this view.
pub(super) async fn admit(
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
                // For streams, where each message is authorized again.
                request.extensions_mut().insert(Arc::clone(peer));
            }
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = router.oneshot(request).await?;
            Ok(refusal::answered(authority, method, response))
        }
        Err(error) => Ok(refused(authority, peer, method, request.headers(), error)),
    }
}

/// The response to a call that is not admitted.
pub(in crate::server) fn refused(
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    method: CalledMethod,
    headers: &HeaderMap,
    error: NotAdmitted,
) -> Response<Body> {
    authority.report_not_admitted(peer.map(Arc::as_ref), method.metric_label(), error, false);
    refusal::not_admitted(method, headers, error)
}
