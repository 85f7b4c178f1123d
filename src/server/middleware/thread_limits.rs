//! The limits as a serving thread applies them to the connections that it is handed.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::Version;
use axum::http::header::CONNECTION;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming as IncomingBody;
use hyper::service::Service;
use hyper::service::service_fn;

use crate::authority::Authority;
use crate::authority::access::CallerIdentity;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::Exceeded;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Sender;
use crate::limits::Admission;
use crate::limits::CallerLimits;
use crate::limits::CallerRole;
use crate::limits::Connection;
use crate::limits::Reserve;
use crate::limits::Share;
use crate::limits::Shares;
use crate::server::middleware::answer_body::AnswerBody;
use crate::server::middleware::buffers::Buffers;
use crate::server::middleware::called_method::called_method;
use crate::server::middleware::guard::refused;
use crate::server::middleware::metrics::RequestMetrics;

/// The shares of all callers, and the admission of one serving thread.
#[derive(Clone, Debug)]
pub(in crate::server) struct ThreadLimits {
    pub(in crate::server) shares: Arc<Shares>,
    pub(in crate::server) admission: Arc<Admission>,
}

/// A connection within its caller's share, and the limits of its requests.
#[derive(Debug)]
pub(in crate::server) struct Opened {
    pub(in crate::server) connection: Connection,
    pub(in crate::server) limits: Arc<CallerLimits>,
}

impl ThreadLimits {
    /// Opens a connection of this peer, or of a caller without a certificate.
    pub(in crate::server) fn open(
        &self,
        authority: &Authority,
        peer: Option<&Peer>,
        info: ConnectionInfo,
        reserve: &Arc<Reserve>,
    ) -> Result<Arc<Opened>, Exceeded> {
        let (identity, role, address) = caller(authority, peer, info);
        let connection = self.shares.open(identity.as_ref(), role, address, reserve)?;
        let limits = CallerLimits::new(Arc::clone(connection.share()), Arc::clone(&self.admission));
        Ok(Arc::new(Opened { connection, limits: Arc::new(limits) }))
    }

    /// The share of this peer, or of a caller without a certificate.
    pub(in crate::server) fn share(
        &self,
        authority: &Authority,
        peer: Option<&Peer>,
        info: ConnectionInfo,
    ) -> Arc<Share> {
        let (identity, role, address) = caller(authority, peer, info);
        self.shares.share(identity.as_ref(), role, address)
    }
}

/// What a share is found by.
fn caller(
    authority: &Authority,
    peer: Option<&Peer>,
    info: ConnectionInfo,
) -> (Option<CallerIdentity>, CallerRole, Option<IpAddr>) {
    let (identity, role) = peer.map_or((None, CallerRole::Anonymous), |peer| {
        let identity = peer.identity();
        let role = match &identity {
            CallerIdentity::Certificate(identity) => CallerRole::of(&authority.view().roles_of(identity)),
            CallerIdentity::Local(_) => CallerRole::Proxy,
        };
        (Some(identity), role)
    });
    (identity, role, info.remote.map(|remote| remote.ip().to_canonical()))
}

/// Refuses each request of a connection that is beyond its caller's share, in the request's protocol.
pub(in crate::server) fn refusing(
    authority: Arc<Authority>,
    peer: Option<Peer>,
    info: ConnectionInfo,
    exceeded: Exceeded,
    buffers: Arc<Buffers>,
) -> impl Service<Request<IncomingBody>, Response = Response<AnswerBody>, Error = Infallible, Future: Send + 'static>
+ Send
+ 'static {
    service_fn(move |request: Request<IncomingBody>| {
        let method = called_method(&request);
        let mut metrics = RequestMetrics::begin(&authority, method);
        let sender = Sender::of(peer.as_ref(), info);
        let error = NotAdmitted::ShareExceeded(exceeded);
        let mut response = refused(&authority, &sender, method, request.headers(), error);
        // HTTP/2 has GOAWAY instead.
        if request.version() < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        metrics.answered(&response);
        std::future::ready(Ok(response.map(|body| AnswerBody::new(body, &buffers))))
    })
}
