//! The listener behind a terminator: each request carries the certificate of its sender in a header that only the
//! terminator can have written.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use hyper::Request;
use hyper::Response;
use quick_cache::Weighter;
use quick_cache::sync;
use spiffe::SpiffeId;
use tokio::net::TcpListener;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::CallerIdentity;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::PeerConnection;
use crate::authority::access::Reach;
use crate::authority::access::Sender;
use crate::authority::evidence::ForwardedHeaders;
use crate::authority::evidence::NotForwarded;
use crate::authority::observe::Cache;
use crate::authority::observe::Lookup;
use crate::authority::state::View;
use crate::authority::trust::chain_fingerprint;
use crate::config::forwarded::Forwarded;
use crate::limits::CallerLimits;
use crate::limits::CallerRole;
use crate::limits::Share;
use crate::limits::Shares;
use crate::server::middleware::called_method::head_bytes;
use crate::server::middleware::catch_panic::catch_panic;
use crate::server::middleware::guard;
use crate::server::middleware::thread_limits::ThreadLimits;
use crate::server::middleware::until_sent::until_sent;
use crate::server::socket::Socket;
use crate::server::socket_file::SocketFile;
use crate::server::socket_file::bind_unix;

/// How many peers of terminators are cached, so that a path is not built for each of their requests. Whether the path
/// is still valid is checked each time, as for a connection.
const REMEMBERED_PEERS: usize = 4096;

/// The maximum total size of their certificates in bytes, because one peer can present many long chains.
const REMEMBERED_BYTES: u64 = 16 * 1024 * 1024;

/// How a terminator is authenticated.
#[derive(Debug)]
pub(in crate::server) enum Terminator {
    /// By the user ID of its process.
    User(u32),
    /// By its SPIFFE ID.
    Svid(SpiffeId),
    /// Without authentication.
    Insecure,
}

/// The service behind the listener.
#[derive(Debug)]
pub(in crate::server) struct ForwardedService {
    router: Router,
    pub(in crate::server) terminator: Terminator,
    peers: sync::Cache<[u8; 32], Remembered, ChainBytes>,
}

/// A peer, its share, and the size of its chain in bytes.
#[derive(Clone, Debug)]
struct Remembered(Peer, Arc<Share>, u64);

#[derive(Clone, Debug)]
struct ChainBytes;

impl Weighter<[u8; 32], Remembered> for ChainBytes {
    fn weight(&self, _: &[u8; 32], peer: &Remembered) -> u64 {
        peer.2
    }
}

/// A bound socket, its service, and its address if it has a port.
pub(in crate::server) struct Bound {
    pub(in crate::server) socket: Socket,
    pub(in crate::server) forwarded_service: ForwardedService,
    pub(in crate::server) address: Option<SocketAddr>,
    pub(in crate::server) file: Option<SocketFile>,
}

/// Binds the socket.
pub(in crate::server) async fn bind(config: Forwarded, router: Router) -> io::Result<Bound> {
    let (terminator, address) = match config {
        Forwarded::Unix { path, peer_uid } => {
            // The group may be the terminator's. The peer of each connection is checked all the same.
            let (socket, file) = bind_unix(&path, None)?;
            let forwarded_service = ForwardedService::new(router, Terminator::User(peer_uid));
            return Ok(Bound { socket: Socket::Unix(socket), forwarded_service, address: None, file: Some(file) });
        }
        Forwarded::Mutual { address, terminator } => (Terminator::Svid(terminator), address),
        Forwarded::Insecure { address } => (Terminator::Insecure, address),
    };
    let socket = TcpListener::bind(address).await?;
    let address = Some(socket.local_addr()?);
    Ok(Bound {
        socket: Socket::Tcp(socket),
        forwarded_service: ForwardedService::new(router, terminator),
        address,
        file: None,
    })
}

impl ForwardedService {
    fn new(router: Router, terminator: Terminator) -> Self {
        Self { router, terminator, peers: sync::Cache::with_weighter(REMEMBERED_PEERS, REMEMBERED_BYTES, ChainBytes) }
    }

    /// Answers a request on a connection of the terminator, which is its peer if it has a certificate.
    pub(in crate::server) async fn call(
        &self,
        authority: &Authority,
        terminator: Option<&PeerConnection>,
        limits: &ThreadLimits,
        connection: ConnectionInfo,
        method: CalledMethod,
        request: Request<Body>,
    ) -> Result<Response<Body>, Infallible> {
        let sender = || Sender { identity: None, connection };
        // Before the peer's certificate is looked at. Operators are not known here, and never forwarded.
        if let Err(error) = limits.admission.admit(method.priority(|| false)) {
            return Ok(guard::refused(authority, &sender(), method, request.headers(), error));
        }
        let answer = self.answer(authority, terminator, limits, connection, method, request);
        catch_panic(authority, sender, method, answer).await
    }

    async fn answer(
        &self,
        authority: &Authority,
        terminator: Option<&PeerConnection>,
        limits: &ThreadLimits,
        connection: ConnectionInfo,
        method: CalledMethod,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Infallible> {
        let view = authority.view();
        match self.peer(authority, &view, terminator, (&limits.shares, connection), request.headers()) {
            Ok((peer, share)) => {
                let under_way = match share.begin(head_bytes(&request)) {
                    Ok(under_way) => under_way,
                    Err(exceeded) => {
                        let (sender, error) = (Sender::of(Some(&peer), connection), exceeded.into());
                        return Ok(guard::refused(authority, &sender, method, request.headers(), error));
                    }
                };
                for name in [FORWARDED_CLIENT_CERT, CLIENT_CERT, CLIENT_CERT_CHAIN] {
                    request.headers_mut().remove(name);
                }
                let limits = Arc::new(CallerLimits::new(share, Arc::clone(&limits.admission)));
                let (router, peer) = (self.router.clone(), Some(&peer));
                let response =
                    guard::admit(router, authority, view, peer, &limits, connection, method, request).await?;
                Ok(until_sent(response, under_way))
            }
            Err(error) => {
                let sender = Sender { identity: None, connection };
                Ok(guard::refused(authority, &sender, method, request.headers(), error))
            }
        }
    }

    fn peer(
        &self,
        authority: &Authority,
        view: &View,
        connection: Option<&PeerConnection>,
        (shares, info): (&Shares, ConnectionInfo),
        headers: &HeaderMap,
    ) -> Result<(Peer, Arc<Share>), NotAdmitted> {
        let (own, reach) = match (&self.terminator, connection) {
            (Terminator::Svid(id), Some(connection)) => {
                // The terminator's own certificate may have expired meanwhile.
                let terminator = authority.caller(view.clone(), connection)?.identity;
                if terminator.spiffe_id() != Some(id) {
                    return Err(NotForwarded::NotTheTerminator.into());
                }
                (Some(id), Reach::Forwarded)
            }
            (Terminator::Svid(_), None) => return Err(NotForwarded::NotTheTerminator.into()),
            (Terminator::User(_), _) => (None, Reach::Forwarded),
            (Terminator::Insecure, _) => (None, Reach::Insecure),
        };
        let lines = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let forwarded = ForwardedHeaders {
            forwarded_client_cert: lines(FORWARDED_CLIENT_CERT),
            client_cert: lines(CLIENT_CERT),
            client_cert_chain: lines(CLIENT_CERT_CHAIN),
        };
        let chain = forwarded.chain(own).map_err(NotAdmitted::NotForwarded)?;
        let key = chain_fingerprint(&chain)?;
        let known = self.peers.get(&key);
        authority.metrics().looked_up(Cache::ForwardedPeers, if known.is_some() { Lookup::Hit } else { Lookup::Miss });
        if let Some(Remembered(peer, share, _)) = known {
            return Ok((peer, share));
        }
        let bytes = chain.iter().map(|certificate| u64::try_from(certificate.len()).unwrap_or(u64::MAX)).sum();
        let connection = Arc::new(authority.admit_by(view, chain, reach)?);
        let identity = connection.identity();
        authority.note_seen(&identity);
        let role = match reach {
            Reach::Direct | Reach::Forwarded => CallerRole::of(&view.roles_of(&identity).forwarded()),
            Reach::Insecure => CallerRole::Workload,
        };
        let share = shares.share(
            Some(&CallerIdentity::Certificate(identity)),
            role,
            info.remote.map(|remote| remote.ip().to_canonical()),
        );
        let peer = Peer::Certificate(connection);
        self.peers.insert(key, Remembered(peer.clone(), Arc::clone(&share), bytes));
        Ok((peer, share))
    }
}

const FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
