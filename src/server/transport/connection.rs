//! One connection, from the handshake to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::Version;
use axum::http::header::CONNECTION;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming as IncomingBody;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::authority::Authority;
use crate::authority::access::PeerConnection;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::HANDSHAKE_FAILED;
use crate::authority::observe::TOO_SLOW;
use crate::server::middleware::ForwardedService;
use crate::server::middleware::RequestMetrics;
use crate::server::middleware::RequestSpan;
use crate::server::middleware::Terminator;
use crate::server::middleware::bounded;
use crate::server::middleware::call_guarded;
use crate::server::middleware::called_method;
use crate::server::middleware::catch_panic;
use crate::server::socket::Accepted;
use crate::server::stage::Stage;
use crate::server::transport::door::Door;
use crate::server::transport::door::Incoming;
use crate::server::transport::stream::Stream;
use crate::tls;
use crate::tls::acceptor::Acceptor;
use crate::tls::acceptor::Refused;

/// How long requests that are under way at a connection's maximum age may still take.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// How long a connection over HTTP/1.1 is still kept at its end for a request that may be on its way. There is no GOAWAY in
/// HTTP/1.1: a client learns by `connection: close` in an answer, or by an end that its next request may cross.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// How long a request's head may take to arrive, and before the first one the preface of HTTP/2.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes that the fields of a request's head may have: a token, a certificate, and room to spare.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Limits {
    handshake: Duration,
    max_age: Duration,
}

impl From<&tls::Config> for Limits {
    fn from(config: &tls::Config) -> Self {
        Self { handshake: config.handshake_timeout, max_age: config.connection_max_age }
    }
}

/// Serves a connection to its end.
pub(in crate::server) async fn serve(
    incoming: Incoming,
    acceptor: Arc<Acceptor>,
    authority: Arc<Authority>,
    limits: Limits,
    stages: watch::Receiver<Stage>,
) {
    let Incoming { stream, door, connection, handshakes } = incoming;
    let stream = match stream {
        Accepted::Tcp(stream) => stream,
        Accepted::Unix(stream) => {
            if let Door::Forwarded(forwarded_service) = &*door {
                local(stream, Arc::clone(forwarded_service), authority, end(limits.max_age, stages)).await;
            }
            return;
        }
    };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    // Answers are small and complete: waiting for more to send with them only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let end = end(aged(limits.max_age, &stream), stages);
    match &*door {
        Door::Mutual(router) => {
            let Some(turn) = turn(&handshakes, limits, &authority).await else { return };
            match acceptor.mutual(stream, limits.handshake).await {
                Ok((stream, peer)) => {
                    drop(turn);
                    let http2 = http2(&stream);
                    guarded(http2, stream, Peers::Itself(router.clone(), peer.map(Arc::new)), authority, end).await;
                }
                Err(refused) => report(&refused, &authority),
            }
        }
        Door::Forwarded(forwarded_service) => {
            let Terminator::Svid(id) = &forwarded_service.terminator else {
                guarded(false, stream, Peers::Behind(Arc::clone(forwarded_service), None), authority, end).await;
                return drop(connection);
            };
            let Some(turn) = turn(&handshakes, limits, &authority).await else { return };
            match acceptor.only_for(id.clone(), stream, limits.handshake).await {
                Ok((stream, terminator)) => {
                    drop(turn);
                    let peers = Peers::Behind(Arc::clone(forwarded_service), Some(Arc::new(terminator)));
                    guarded(http2(&stream), stream, peers, authority, end).await;
                }
                Err(refused) => report(&refused, &authority),
            }
        }
        Door::ServerOnly(router) => {
            let Some(turn) = turn(&handshakes, limits, &authority).await else { return };
            match acceptor.server_only(stream, limits.handshake).await {
                Ok(stream) => {
                    drop(turn);
                    speak(http2(&stream), stream, unguarded(router, authority, true), end).await;
                }
                Err(refused) => report(&refused, &authority),
            }
        }
        // Probes and collectors ask here, as often as they like: they would hide what callers get.
        Door::Plain(router) => speak(false, stream, unguarded(router, authority, false), end).await,
    }
    drop(connection);
}

/// Serves a connection from a process of this machine, if it is the right user's.
async fn local(
    stream: std::os::unix::net::UnixStream,
    forwarded_service: Arc<ForwardedService>,
    authority: Arc<Authority>,
    end: impl Future<Output = ()>,
) {
    let Ok(stream) = UnixStream::from_std(stream) else { return };
    let user = stream.peer_cred().map(|peer| peer.uid());
    match (&forwarded_service.terminator, user) {
        (Terminator::User(wanted), Ok(user)) if *wanted == user => {
            guarded(false, stream, Peers::Behind(forwarded_service, None), authority, end).await;
        }
        (terminator, user) => {
            tracing::warn!(?terminator, ?user, "a connection was refused: it is not the terminator's");
        }
    }
}

/// Who sends requests on a connection.
#[derive(Clone)]
enum Peers {
    /// The one who opened it, to these routes.
    Itself(Router, Option<Arc<PeerConnection>>),
    /// Those whose certificates the terminator who opened it passes on.
    Behind(Arc<ForwardedService>, Option<Arc<PeerConnection>>),
}

/// Serves requests each of which has to be admitted.
async fn guarded<S>(http2: bool, stream: S, peers: Peers, authority: Arc<Authority>, end: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (over, ending) = watch::channel(false);
    let service = service_fn(move |request: Request<IncomingBody>| {
        let (peers, authority, ending) = (peers.clone(), Arc::clone(&authority), ending.clone());
        let method = called_method(&request);
        let measured = RequestMetrics::begin(&authority, method);
        async move {
            let (traced, request) = (RequestSpan::of(&request, method), request.map(Body::new));
            let response = traced.answered(async {
                match peers {
                    Peers::Itself(router, peer) => {
                        call_guarded(router, &authority, authority.view(), peer.as_ref(), method, request).await
                    }
                    Peers::Behind(forwarded_service, terminator) => {
                        forwarded_service.call(&authority, terminator.as_deref(), method, request).await
                    }
                }
            });
            response.await.map(|response| bounded(response, ending, &authority, measured))
        }
    });
    let end = async move {
        end.await;
        over.send_replace(true);
    };
    speak(http2, stream, service, end).await;
}

/// A place among the handshakes under way, waited for no longer than a handshake may take.
async fn turn(handshakes: &Arc<Semaphore>, limits: Limits, authority: &Authority) -> Option<OwnedSemaphorePermit> {
    let turn = tokio::time::timeout(limits.handshake, Arc::clone(handshakes).acquire_owned()).await;
    if turn.is_err() {
        failed(authority, TOO_SLOW, "the handshake waited too long for its turn");
    }
    turn.ok()?.ok()
}

fn report(refused: &Refused, authority: &Authority) {
    match refused {
        Refused::Unproven(unproven) => {
            authority.metrics().handshake_refused(*unproven);
            AuditEvent::HandshakeRefused(*unproven).record();
        }
        Refused::Handshake(_) => failed(authority, HANDSHAKE_FAILED, &refused.to_string()),
        Refused::Slow => failed(authority, TOO_SLOW, &refused.to_string()),
    }
}

fn failed(authority: &Authority, reason: &'static str, cause: &str) {
    authority.metrics().handshake_failed(reason);
    AuditEvent::HandshakeFailed { reason, cause }.record();
}

/// Serves requests of anybody. Those of probes are neither measured nor a part of a trace.
fn unguarded(
    router: &Router,
    authority: Arc<Authority>,
    observed: bool,
) -> impl Service<Request<IncomingBody>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Send
+ 'static
+ use<> {
    let router = router.clone();
    service_fn(move |request: Request<IncomingBody>| {
        let (router, authority) = (router.clone(), Arc::clone(&authority));
        let method = called_method(&request);
        let observed = observed.then(|| (RequestSpan::of(&request, method), RequestMetrics::begin(&authority, method)));
        async move {
            let answer = catch_panic(&authority, method, router.oneshot(request.map(Body::new)));
            match observed {
                None => answer.await,
                Some((traced, mut measured)) => {
                    let answer = traced.answered(answer).await;
                    if let Ok(response) = &answer {
                        measured.answered(response);
                    }
                    answer
                }
            }
        }
    })
}

/// Comes when the connection is old, or the server drains.
async fn end(age: Duration, mut stages: watch::Receiver<Stage>) {
    tokio::select! {
        () = tokio::time::sleep(age) => {}
        _ = stages.wait_for(|stage| *stage == Stage::Draining) => {}
    }
}

/// Whether the handshake settled on HTTP/2.
fn http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Speaks HTTP/2, or else whatever of the two versions the peer begins with, until the peer goes, or `end` comes and what is
/// under way is answered.
async fn speak<S, V>(http2: bool, stream: S, service: V, end: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: Service<Request<IncomingBody>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    V::Future: Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if http2 {
        // The server speaks first then (RFC 9113 section 3.4), as soon as the peer has been let in: a client that waits for
        // it learns of a refusal, which in TLS 1.3 comes after its side of the handshake is done, before it sends anything.
        builder = builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(MAX_HEAD_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let parting = Arc::new(AtomicBool::new(false));
    let service = {
        let parting = Arc::clone(&parting);
        service_fn(move |request: Request<IncomingBody>| {
            // HTTP/2 has GOAWAY for it.
            let parting = (request.version() < Version::HTTP_2).then(|| Arc::clone(&parting));
            let answer = service.call(request);
            async move {
                let mut response = answer.await?;
                if parting.is_some_and(|parting| parting.load(Ordering::Relaxed)) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let connection = builder.serve_connection(TokioIo::new(Stream::new(stream, HEAD_TIMEOUT)), service);
    tokio::pin!(connection);
    tokio::select! {
        // An error here is the peer's: it broke off, or did not speak HTTP.
        ended = &mut connection => return drop(ended),
        () = end => {}
    }
    if !http2 {
        parting.store(true, Ordering::Relaxed);
        if let Ok(ended) = tokio::time::timeout(LAST_ANSWER, connection.as_mut()).await {
            return drop(ended);
        }
    }
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(LAST_REQUESTS, connection).await.is_err() {
        tracing::debug!("a connection did not end when asked to");
    }
}

/// The maximum age less up to a tenth, so that connections made together do not all come back together.
fn aged(max_age: Duration, stream: &TcpStream) -> Duration {
    let share = stream.peer_addr().map_or(0, |peer| peer.port() % 100);
    max_age.saturating_sub(max_age / 1000 * u32::from(share))
}
