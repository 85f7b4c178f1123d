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
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::access::Sender;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::refusal;

/// Answers a request for this method if its caller is authorized. A panic ends this request only.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    connection: ConnectionInfo,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let answer = async { admit(router, authority, authority.view(), peer, connection, method, request).await };
    let sender = || Sender::of(peer.map(Arc::as_ref), connection);
    catch_panic(authority, sender, method, answer).await
}

/// Answers a request without catching panics, using this view.
pub(super) async fn admit(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    connection: ConnectionInfo,
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
                request.extensions_mut().insert(Caller { connection, ..caller });
            }
            let response = router.oneshot(request).await?;
            let sender = || Sender::of(peer.map(Arc::as_ref), connection);
            Ok(refusal::answered(authority, sender, method, response))
        }
        Err(error) => {
            let sender = Sender::of(peer.map(Arc::as_ref), connection);
            Ok(refused(authority, &sender, method, request.headers(), error))
        }
    }
}

/// The response to a call that is not admitted.
pub(in crate::server) fn refused(
    authority: &Authority,
    sender: &Sender,
    method: CalledMethod,
    headers: &HeaderMap,
    error: NotAdmitted,
) -> Response<Body> {
    authority.report_not_admitted(sender, method.metric_label(), error, false);
    refusal::not_admitted(method, headers, error)
}
