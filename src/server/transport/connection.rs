//! One connection, from the handshake to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authority::Authority;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::Exceeded;
use crate::authority::access::Peer;
use crate::limits::Reserve;
use crate::server::bounds::REFUSED_TIME;
use crate::server::middleware::Buffers;
use crate::server::middleware::ForwardedService;
use crate::server::middleware::Opened;
use crate::server::middleware::Terminator;
use crate::server::middleware::ThreadLimits;
use crate::server::middleware::refusing;
use crate::server::socket::Accepted;
use crate::server::stage::Stage;
use crate::server::transport::door::Door;
use crate::server::transport::door::Incoming;
use crate::server::transport::gate::until_displaced;
use crate::server::transport::guarded::Ending;
use crate::server::transport::guarded::Guarded;
use crate::server::transport::guarded::Peers;
use crate::server::transport::http::serve_http;
use crate::server::transport::refusal::record_refusal;
use crate::server::transport::refusal::refuse;
use crate::server::transport::time_limits::Limits;
use crate::server::transport::unguarded::unguarded;
use crate::tls::acceptor::Acceptor;
use crate::tls::acceptor::TlsStream;

/// The end of a connection, allocated by itself: each function that takes a future by value keeps room for it twice.
type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a connection to its end. What it waits for after the handshake is allocated then: until there is one, a connection
/// takes little.
pub(in crate::server) async fn serve(
    incoming: Incoming,
    acceptor: Arc<Acceptor>,
    authority: Arc<Authority>,
    limits: Limits,
    thread: ThreadLimits,
    stages: watch::Receiver<Stage>,
) {
    let Incoming { stream, door, listener, connection, reserve, mut place, gate } = incoming;
    let mut departure = place.departure();
    // Dropped before it, and at once where the connection is refused.
    let mut connection = Some(connection);
    let mut info = ConnectionInfo { remote: stream.remote(), listener: Some(listener) };
    let stream = match stream {
        Accepted::Tcp(stream) => stream,
        Accepted::Unix(stream) => {
            // Its peer is a process of the operator's, which may open connections before it needs them.
            drop(place);
            let end = end(limits.max_age, stages);
            Box::pin(serve_unix(stream, &door, info, (authority, thread), (&reserve, end))).await;
            return;
        }
    };
    // Responses are small and complete, so waiting for more data only delays them.
    let undelayed = |stream: TcpStream| stream.set_nodelay(true).map(|()| stream);
    let Ok(mut stream) = TcpStream::from_std(stream).and_then(undelayed) else { return };
    let end = end(limits.max_age_of(info.remote), stages);
    let deadline = Instant::now() + limits.handshake;
    if door.is_tls() {
        match gate.client_of(&mut stream, info.remote, &mut place, deadline).await {
            Ok(client) => info.remote = client,
            Err(why) => return record_refusal(&why, None, info, &authority),
        }
    }
    match &*door {
        Door::Mutual(router) => {
            let finish = |hello| acceptor.mutual(hello);
            match Box::pin(gate.shake_hands(stream, info.remote, place, deadline, finish)).await {
                Ok((stream, peer)) => {
                    let (http2, peer) = (http2(&stream), peer.map(Arc::new).map(Peer::Certificate));
                    match thread.open(&authority, peer.as_ref(), info, &reserve) {
                        Ok(opened) => {
                            let peers = Peers::Direct(router.clone(), peer, opened);
                            Box::pin(serve_guarded(http2, stream, peers, info, (authority, thread), end)).await;
                        }
                        Err(exceeded) => {
                            connection = None;
                            Box::pin(serve_refused(http2, stream, (authority, thread), peer, info, exceeded)).await;
                        }
                    }
                }
                Err(refusal) => Box::pin(refuse(refusal, info, &authority)).await,
            }
        }
        Door::Forwarded(forwarded_service) => {
            let Terminator::Svid(id) = &forwarded_service.terminator else {
                // Its peer is a process of the operator's, which may open connections before it needs them.
                drop(place);
                let peers = Peers::Forwarded(Arc::clone(forwarded_service), None);
                Box::pin(serve_guarded(false, stream, peers, info, (authority, thread), end)).await;
                return;
            };
            let finish = |hello| acceptor.only_for(id.clone(), hello);
            match Box::pin(gate.shake_hands(stream, info.remote, place, deadline, finish)).await {
                Ok((stream, terminator)) => {
                    let peers = Peers::Forwarded(Arc::clone(forwarded_service), Some(Arc::new(terminator)));
                    let server = (authority, thread);
                    Box::pin(serve_guarded(http2(&stream), stream, peers, info, server, end)).await;
                }
                Err(refusal) => Box::pin(refuse(refusal, info, &authority)).await,
            }
        }
        Door::ServerOnly(router) => {
            let finish = |hello| acceptor.server_only(hello);
            match Box::pin(gate.shake_hands(stream, info.remote, place, deadline, finish)).await {
                Ok(stream) => {
                    let http2 = http2(&stream);
                    match thread.open(&authority, None, info, &reserve) {
                        Ok(opened) => {
                            let place = gate.enter(info.remote);
                            departure = place.departure();
                            let (asks, asked) = watch::channel(false);
                            let end = until_superseded(end, Arc::clone(&opened));
                            let buffers = Buffers::of(Arc::clone(opened.connection.share()));
                            let service = unguarded(router, authority, Some(opened), asks, Arc::clone(&buffers));
                            let serving = serve_http(http2, stream, service, buffers, end);
                            Box::pin(until_displaced(place, asked, serving)).await;
                        }
                        Err(exceeded) => {
                            connection = None;
                            Box::pin(serve_refused(http2, stream, (authority, thread), None, info, exceeded)).await;
                        }
                    }
                }
                Err(refusal) => Box::pin(refuse(refusal, info, &authority)).await,
            }
        }
        // Over a Unix socket alone.
        Door::Local(_) => {}
        // Probes and collectors request often, and would distort the metrics of callers.
        Door::Plain(router) => {
            let (asks, asked) = watch::channel(false);
            let buffers = Buffers::of(thread.share(&authority, None, info));
            let service = unguarded(router, authority, None, asks, Arc::clone(&buffers));
            let serving = serve_http(false, stream, service, buffers, end);
            Box::pin(until_displaced(place, asked, serving)).await;
        }
    }
    drop(connection);
    drop(departure);
}

/// Serves a connection over a Unix domain socket.
async fn serve_unix(
    stream: std::os::unix::net::UnixStream,
    door: &Door,
    info: ConnectionInfo,
    server: (Arc<Authority>, ThreadLimits),
    (reserve, end): (&Arc<Reserve>, End),
) {
    match door {
        Door::Forwarded(service) => serve_terminator(stream, Arc::clone(service), info, server, end).await,
        Door::Local(router) => serve_local(stream, router.clone(), info, server, (reserve, end)).await,
        Door::Mutual(_) | Door::ServerOnly(_) | Door::Plain(_) => {}
    }
}

/// Serves a terminator's connection, if its peer has the configured user id.
async fn serve_terminator(
    stream: std::os::unix::net::UnixStream,
    forwarded_service: Arc<ForwardedService>,
    info: ConnectionInfo,
    server: (Arc<Authority>, ThreadLimits),
    end: End,
) {
    let Ok(stream) = UnixStream::from_std(stream) else { return };
    let user = stream.peer_cred().map(|peer| peer.uid());
    match (&forwarded_service.terminator, user) {
        (Terminator::User(wanted), Ok(user)) if *wanted == user => {
            serve_guarded(false, stream, Peers::Forwarded(forwarded_service, None), info, server, end).await;
        }
        (terminator, user) => {
            tracing::warn!(
                ?terminator,
                ?user,
                listener = info.listener,
                "a connection was refused: its user is not the terminator"
            );
        }
    }
}

/// Serves HTTP/2 to a proxy on this machine, if the user of its process is named.
async fn serve_local(
    stream: std::os::unix::net::UnixStream,
    router: Router,
    info: ConnectionInfo,
    (authority, thread): (Arc<Authority>, ThreadLimits),
    (reserve, end): (&Arc<Reserve>, End),
) {
    let Ok(stream) = UnixStream::from_std(stream) else { return };
    let Ok(user) = stream.peer_cred().map(|peer| peer.uid()) else { return };
    let Some(peer) = authority.admit_local(user, info) else { return };
    match thread.open(&authority, Some(&peer), info, reserve) {
        Ok(opened) => {
            let peers = Peers::Direct(router, Some(peer), opened);
            serve_guarded(true, stream, peers, info, (authority, thread), end).await;
        }
        Err(exceeded) => serve_refused(true, stream, (authority, thread), Some(peer), info, exceeded).await,
    }
}

/// Serves requests that must be admitted one by one.
async fn serve_guarded<S>(
    http2: bool,
    stream: S,
    peers: Peers,
    info: ConnectionInfo,
    (authority, thread): (Arc<Authority>, ThreadLimits),
    end: End,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (over, shutdown) = watch::channel(false);
    let (opened, share) = match &peers {
        Peers::Direct(_, _, opened) => (Some(Arc::clone(opened)), Arc::clone(opened.connection.share())),
        Peers::Forwarded(_, terminator) => {
            let terminator = terminator.clone().map(Peer::Certificate);
            (None, thread.share(&authority, terminator.as_ref(), info))
        }
    };
    let buffers = Buffers::of(share);
    let ending = Ending { authority, shutdown, buffers: Arc::clone(&buffers) };
    let service = Guarded { peers, thread, info, ending };
    let end: End = Box::pin(async move {
        match opened {
            Some(opened) => until_superseded(end, opened).await,
            None => end.await,
        }
        over.send_replace(true);
    });
    serve_http(http2, stream, service, buffers, end).await;
}

/// Completes when the connection is to end, or to make room for another one.
async fn until_superseded(end: End, opened: Arc<Opened>) {
    tokio::select! {
        () = end => {}
        () = opened.connection.superseded() => {}
    }
}

/// Serves a connection beyond its caller's share: it ends at once, and what crosses its end is refused.
async fn serve_refused<S>(
    http2: bool,
    stream: S,
    (authority, thread): (Arc<Authority>, ThreadLimits),
    peer: Option<Peer>,
    info: ConnectionInfo,
    exceeded: Exceeded,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let buffers = Buffers::of(thread.share(&authority, peer.as_ref(), info));
    let service = refusing(authority, peer, info, exceeded, Arc::clone(&buffers));
    let serving = serve_http(http2, stream, service, buffers, std::future::ready(()));
    drop(tokio::time::timeout(REFUSED_TIME, serving).await);
}

/// Completes when the connection reaches its maximum age, or the server drains.
fn end(age: Duration, mut stages: watch::Receiver<Stage>) -> End {
    Box::pin(async move {
        tokio::select! {
            () = tokio::time::sleep(age) => {}
            _ = stages.wait_for(|stage| *stage == Stage::Draining) => {}
        }
    })
}

/// Whether the handshake negotiated HTTP/2.
fn http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
