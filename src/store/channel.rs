//! Connections over HTTP/2 to the servers that a store is at.

use std::io;
use std::sync::Arc;

use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tower::service_fn;

use crate::store::peer::TlsSource;

/// Connects, with the certificates as they are now. `home` drives the connection, whichever runtime it is used from.
///
/// # Errors
/// The last cause, for the log.
pub(super) async fn connect(endpoint: Uri, tls: Option<TlsSource>, home: Handle) -> Result<Channel, String> {
    let tls = tls.map(|tls| tls()).transpose()?;
    let connect = service_fn(move |uri: Uri| stream(uri, tls.clone()));
    let endpoint = Endpoint::from(endpoint).executor(OnHandle(home));
    endpoint.connect_with_connector(connect).await.map_err(|error| root_cause(&error))
}

/// The first cause of an error.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Spawns the tasks of a connection on one runtime.
#[derive(Clone, Debug)]
struct OnHandle(Handle);

impl<F> Executor<F> for OnHandle
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}

/// A stream of bytes to a server.
type Stream = TokioIo<Box<dyn ReadWrite>>;

trait ReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> ReadWrite for T {}

async fn stream(uri: Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(2379))).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(TokioIo::new(Box::new(tcp))) };
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(TokioIo::new(Box::new(TlsConnector::from(tls).connect(name, tcp).await?)))
}
