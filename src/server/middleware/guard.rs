//! Authorization in front of all routes of the mTLS listener: the access table decides before the request is parsed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
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
use crate::limits::CallerLimits;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::held::counted;
use crate::server::middleware::held::until_sent;
use crate::server::middleware::refusal;

/// Answers a request for this method if its caller is within its share and authorized, and the thread is not overloaded.
/// What is refused for its share or the load costs no more than that. A panic ends this request only.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    peer: Option<&Arc<PeerConnection>>,
    limits: &Arc<CallerLimits>,
    connection: ConnectionInfo,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let sender = || Sender::of(peer.map(Arc::as_ref), connection);
    let under_way = match limits.begin(method.priority(|| limits.is_admin())) {
        Ok(under_way) => under_way,
        Err(error) => return Ok(refused(authority, &sender(), method, request.headers(), error)),
    };
    let answer = async { admit(router, authority, authority.view(), peer, limits, connection, method, request).await };
    let response = catch_panic(authority, sender, method, answer).await?;
    Ok(until_sent(response, under_way))
}

/// Answers a request without catching panics, using this view.
#[expect(clippy::too_many_arguments, reason = "what a request is, and what it is decided by")]
pub(super) async fn admit(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Arc<PeerConnection>>,
    limits: &Arc<CallerLimits>,
    connection: ConnectionInfo,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let sender = || Sender::of(peer.map(Arc::as_ref), connection);
    match authority.authorize(view, peer.map(Arc::as_ref), method) {
        Ok(caller) => {
            let headers = request.headers().get(ACCEPT).cloned();
            let (mut request, bytes) = counted(request, method, limits);
            if let Some(peer) = peer {
                // For streams, where each message is authorized again, and counts for the share.
                request.extensions_mut().insert(Arc::clone(peer));
                request.extensions_mut().insert(Arc::clone(limits));
            }
            if let Some(caller) = caller {
                request.extensions_mut().insert(Caller { connection, ..caller });
            }
            let response = router.oneshot(request).await?;
            if let Some(exceeded) = bytes.exceeded() {
                let headers = headers.map(|accept| (ACCEPT, accept)).into_iter().collect();
                return Ok(refused(authority, &sender(), method, &headers, NotAdmitted::ShareExceeded(exceeded)));
            }
            Ok(refusal::answered(authority, sender, method, response))
        }
        Err(error) => Ok(refused(authority, &sender(), method, request.headers(), error)),
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
