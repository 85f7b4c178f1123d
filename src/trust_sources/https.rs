//! An HTTPS GET of URLs that a client chose. Such a URL may be aimed at an internal service (server-side request
//! forgery).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::ACCEPT;
use hyper::header::HOST;
use hyper::header::LOCATION;
use hyper::http::StatusCode;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::registration::AllowedHosts;
use crate::authority::registration::JwksUri;
use crate::authority::registration::MAX_PUBLISHED_BYTES;
use crate::trace_context;
use crate::trust_sources::addresses::Reach;
use crate::trust_sources::network::Network;

/// The size limit of the response head in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How many redirects are followed. Each must obey the rules of the first URL.
pub(in crate::trust_sources) const MAX_REDIRECTS: usize = 3;

/// An HTTPS client that contacts only listed hosts, at allowed addresses, over TLS with configured roots. It sends the
/// URL and the `traceparent` of the present request, nothing else. It does not keep connections.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    /// The TLS configuration, which decides which servers are trusted.
    pub tls: Arc<ClientConfig>,
    /// The hosts that may be contacted.
    pub allowed_hosts: AllowedHosts,
    /// Whether their addresses may be private.
    pub allow_private_addresses: bool,
    /// The timeout of a whole fetch, redirects included.
    pub timeout: Duration,
    /// Resolves names and opens connections.
    pub network: Arc<dyn Network>,
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host is not on the list of allowed hosts.
    #[error("the host {0} is not one of jwks_uri.allowed_hosts")]
    Host(String),
    /// None of the host's addresses may be contacted.
    #[error("the host's address {0} is private or reserved")]
    Address(SocketAddr),
    /// The host has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The connection or the TLS handshake failed.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// The response is not HTTP, or its head is too long.
    #[error("the answer is not HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The status is not 200, or is a redirect without a location.
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    /// A redirect to a URL that a `jwks_uri` must not be, or too many redirects.
    #[error("the answer redirects too often, or to a URL that is not allowed")]
    Redirect,
    /// The document exceeds the size limit, or the connection broke.
    #[error("the document is too large, or is incomplete")]
    Body,
    /// The timeout expired.
    #[error("it took too long")]
    Slow,
}

impl GuardedClient {
    /// Fetches the document at a URL.
    pub async fn get(&self, uri: &JwksUri) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.follow(uri)).await.map_err(|_| FetchError::Slow)?
    }

    async fn follow(&self, uri: &JwksUri) -> Result<Bytes, FetchError> {
        let mut uri = uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.ask(&uri).await? {
                Answer::Document(document) => return Ok(document),
                Answer::Redirect(location) => uri = uri.redirected(&location).ok_or(FetchError::Redirect)?,
            }
        }
        Err(FetchError::Redirect)
    }

    async fn ask(&self, uri: &JwksUri) -> Result<Answer, FetchError> {
        if !self.allowed_hosts.allows(uri) {
            return Err(FetchError::Host(uri.authority()));
        }
        let stream = self.connect(uri).await?;
        exchange(stream, &self.tls, uri, MAX_PUBLISHED_BYTES).await
    }

    /// Connects to one of the addresses that were checked. The name is not resolved a second time: the result could
    /// differ.
    async fn connect(&self, uri: &JwksUri) -> Result<TcpStream, FetchError> {
        let mut last = FetchError::NoAddress;
        for address in self.network.resolve(uri.host(), uri.port()).await? {
            let allowed = match Reach::of(address.ip()) {
                Reach::Public => true,
                Reach::Private => self.allow_private_addresses,
                Reach::Never => false,
            };
            if !allowed {
                last = FetchError::Address(address);
                continue;
            }
            match self.network.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

/// A server's response.
pub(in crate::trust_sources) enum Answer {
    /// Status 200 with this body.
    Document(Bytes),
    /// A redirect to this location.
    Redirect(String),
}

/// Requests the document at a URL, of at most `max_bytes`, over this stream, and closes it.
pub(in crate::trust_sources) async fn exchange(
    stream: TcpStream,
    tls: &Arc<ClientConfig>,
    uri: &JwksUri,
    max_bytes: usize,
) -> Result<Answer, FetchError> {
    let name = ServerName::try_from(uri.host().to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(uri.path_and_query())
        .header(HOST, uri.authority())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    trace_context::inject_parent(request.headers_mut());
    let exchange = async { read(sender.send_request(request).await?, max_bytes).await };
    tokio::pin!(exchange, connection);
    // The connection is driven here, not by a task of its own, so that a timeout also drops the connection.
    tokio::select! {
        answer = &mut exchange => return answer,
        // The result is the exchange's to report: it may have the whole response already.
        ended = &mut connection => drop(ended),
    }
    exchange.await
}

async fn read(response: Response<Incoming>, max_bytes: usize) -> Result<Answer, FetchError> {
    match response.status() {
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), max_bytes).collect().await;
            body.map(|body| Answer::Document(body.to_bytes())).map_err(|_| FetchError::Body)
        }
        status if status.is_redirection() => {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            location.map(|location| Answer::Redirect(location.to_owned())).ok_or(FetchError::Status(status))
        }
        status => Err(FetchError::Status(status)),
    }
}
