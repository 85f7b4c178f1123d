//! The connection to a server: mutual TLS that trusts only the configured CAs.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
#[cfg(feature = "opentelemetry")]
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tower::service_fn;

#[cfg(feature = "opentelemetry")]
use crate::client::onward::Onward;
#[cfg(feature = "server")]
use crate::trace_context::IncomingTrace;

/// The timeout for the TCP connection and the TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of each call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

const DEFAULT_PORT: u16 = 443;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The TCP connection failed.
    #[error("cannot reach the server at {0}: {1}")]
    Unreachable(String, #[source] io::Error),
    /// The server did not answer within the timeout.
    #[error("the server at {0} did not answer within {1} seconds")]
    TimedOut(String, u64),
    /// The TLS handshake failed.
    #[error("no TLS connection to {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// The client's side of the handshake was complete, but the server closed the connection before it sent HTTP/2.
    #[error("the server at {0} refused your certificate ({1})")]
    Refused(String, #[source] io::Error),
}

/// The channel for calls. Each call propagates the current span.
#[cfg(feature = "opentelemetry")]
pub(crate) type Channel = InterceptedService<tonic::transport::Channel, Onward>;

/// The channel for calls.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) type Channel = tonic::transport::Channel;

/// Connects. The server closes connections at their maximum age; the channel then opens the next one.
#[cfg(feature = "server")]
pub(crate) async fn connect(
    server: &Uri,
    tls: Arc<ClientConfig>,
    incoming: IncomingTrace,
) -> Result<Channel, tonic::transport::Error> {
    connect_at(server, None, tls, incoming).await
}

/// Connects to the server at this address, instead of one that its name stands for.
#[cfg(feature = "server")]
pub(crate) async fn connect_at(
    server: &Uri,
    address: Option<SocketAddr>,
    tls: Arc<ClientConfig>,
    incoming: IncomingTrace,
) -> Result<Channel, tonic::transport::Error> {
    let connector = TlsConnector::from(tls);
    let connect = service_fn(move |server: Uri| handshake(connector.clone(), server, address));
    let channel = endpoint(server).connect_with_connector(connect).await?;
    Ok(InterceptedService::new(channel, Onward::new(incoming)))
}

/// A channel that connects at the first call.
pub(crate) fn connect_lazily(server: &Uri, tls: Arc<ClientConfig>) -> Channel {
    let connector = TlsConnector::from(tls);
    let connect = service_fn(move |server: Uri| handshake(connector.clone(), server, None));
    let channel = endpoint(server).connect_with_connector_lazy(connect);
    #[cfg(feature = "opentelemetry")]
    let channel = InterceptedService::new(channel, Onward::default());
    channel
}

fn endpoint(server: &Uri) -> Endpoint {
    Endpoint::from(server.clone()).timeout(CALL_TIMEOUT)
}

async fn handshake(
    connector: TlsConnector,
    server: Uri,
    at: Option<SocketAddr>,
) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = server.port_u16().unwrap_or(DEFAULT_PORT);
    let named = || format!("{}:{port}", server.host().unwrap_or_default());
    let address = at.map_or_else(named, |at| at.to_string());
    let unreachable = |error| ConnectError::Unreachable(address.clone(), error);
    let name = ServerName::try_from(host.clone())
        .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connecting = async {
        let stream = match at {
            Some(at) => TcpStream::connect(at).await,
            None => TcpStream::connect((host.as_str(), port)).await,
        };
        let stream = stream.map_err(unreachable)?;
        // Without this, a request's second segment waits for the acknowledgement of the first, which is delayed by 40
        // ms.
        stream.set_nodelay(true).map_err(unreachable)?;
        let connecting = connector.connect(name, stream).await;
        let mut stream = connecting.map_err(|error| ConnectError::Tls(address.clone(), error))?;
        // A server that accepts the client sends first. In TLS 1.3 a client completes its handshake before the server
        // has verified its certificate (RFC 8446 section 4.4); a request sent meanwhile would often be lost together
        // with the refusal.
        let refused = |error| ConnectError::Refused(address.clone(), error);
        if stream.fill_buf().await.map_err(refused)?.is_empty() {
            return Err(refused(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
        }
        Ok(TokioIo::new(stream))
    };
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(ConnectError::TimedOut(address.clone(), CONNECT_TIMEOUT.as_secs())))
}

/// Parses the URL of a server's mTLS listener.
pub fn server_url(text: &str) -> Result<Uri, &'static str> {
    const SHAPE: &str = "must be https://HOST:PORT, such as https://localhost:8443";
    let uri: Uri = text.parse().map_err(|_| SHAPE)?;
    let valid = uri.scheme_str() == Some("https")
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.path() == "/"
        && uri.query().is_none()
        && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if valid { Ok(uri) } else { Err(SHAPE) }
}

/// The first error of type `E` in the chain of an error and its causes.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// The text of the last error in the chain of causes.
#[cfg(feature = "server")]
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
