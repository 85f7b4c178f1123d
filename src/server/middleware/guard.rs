//! Authorization in front of all routes of the mTLS listener: the access table decides before the request is parsed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use hyper::Request;
use hyper::Response;
use tower::ServiceExt as _;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Sender;
use crate::authority::state::Admitted;
use crate::authority::state::View;
use crate::limits::CallerLimits;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::refusal;
use crate::server::middleware::request_body::Cut;
use crate::server::middleware::request_body::WhyCut;
use crate::server::middleware::request_body::within_bounds;

/// Answers a request for this method that has begun, if its caller is authorized. A panic ends this request only.
pub(in crate::server) async fn call(
    router: Router,
    authority: &Authority,
    peer: Option<&Peer>,
    limits: &Arc<CallerLimits>,
    connection: ConnectionInfo,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let sender = || Sender::of(peer, connection);
    let answer = async { admit(router, authority, authority.view(), peer, limits, connection, method, request).await };
    catch_panic(authority, sender, method, answer).await
}

/// Answers a request without catching panics, using this view.
#[expect(clippy::too_many_arguments, reason = "what a request is, and what it is decided by")]
pub(super) async fn admit(
    router: Router,
    authority: &Authority,
    view: View,
    peer: Option<&Peer>,
    limits: &Arc<CallerLimits>,
    connection: ConnectionInfo,
    method: CalledMethod,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let sender = || Sender::of(peer, connection);
    match authority.authorize(view, peer, method) {
        Ok(admitted) => {
            let headers = request.headers().get(ACCEPT).cloned();
            let (mut request, why) = within_bounds(request, method, limits.share());
            if let Some(peer) = peer {
                // For streams, where each message is authorized again, and counts for the share.
                request.extensions_mut().insert(peer.clone());
                request.extensions_mut().insert(Arc::clone(limits));
            }
            match admitted.map(|admitted| admitted.on(connection)) {
                Some(Admitted::Caller(caller)) => {
                    if method.reads() {
                        authority.report_admin_read(&caller, method.metric_label());
                    }
                    request.extensions_mut().insert(caller);
                }
                Some(Admitted::Local(asker)) => {
                    request.extensions_mut().insert(asker);
                }
                None => {}
            }
            let response = router.oneshot(request).await?;
            let response = refusal::answered(authority, sender, method, response);
            let headers = || headers.map(|accept| (ACCEPT, accept)).into_iter().collect();
            Ok(unless_cut(authority, sender, method, headers, &why, response))
        }
        Err(error) => Ok(refused(authority, &sender(), method, request.headers(), error)),
    }
}

/// The answer to a request, or another one if its body was not read to its end.
pub(in crate::server) fn unless_cut(
    authority: &Authority,
    sender: impl FnOnce() -> Sender,
    method: CalledMethod,
    headers: impl FnOnce() -> HeaderMap,
    why: &WhyCut,
    answer: Response<Body>,
) -> Response<Body> {
    match why.cut() {
        None => answer,
        Some(Cut::TooSlow) => refusal::cut_off(method, StatusCode::REQUEST_TIMEOUT, answer),
        Some(Cut::NoRoom(exceeded)) => refused(authority, &sender(), method, &headers(), exceeded.into()),
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
    let reference = authority.report_not_admitted(sender, method.metric_label(), error, false);
    refusal::not_admitted(&authority.policy().mtls_url, method, headers, error, reference)
}
