//! GET over HTTPS to places that somebody else named, and that might be meant for another target than they say.

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
use crate::trace_context;
use crate::trust_sources::addresses::Reach;
use crate::trust_sources::network::Network;

/// The most bytes that a document may have, and as many for the head in front of it.
const MAX_BYTES: usize = 64 * 1024;

/// How many redirects are followed, each under the rules of the first URL.
const MAX_REDIRECTS: usize = 3;

/// Asks only where it is let: listed hosts, addresses that were judged, TLS with known roots. It sends nothing but the URL,
/// and of the request that it asks for the `traceparent`, and keeps no connection.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    /// Which servers are believed to be who they say.
    pub tls: Arc<ClientConfig>,
    /// Which may be asked.
    pub allowed_hosts: AllowedHosts,
    /// Whether they may be on this machine or this network.
    pub allow_private_addresses: bool,
    /// How long all of it may take, redirects included.
    pub timeout: Duration,
    /// The way out.
    pub network: Arc<dyn Network>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host is not on the list.
    #[error("the host {0} is not one of jwks_uri.allowed_hosts")]
    Host(String),
    /// None of the host's addresses may be asked.
    #[error("the host's address {0} is private or reserved")]
    Address(SocketAddr),
    /// The host has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The network, or TLS.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// What was answered is not HTTP, or has too long a head.
    #[error("the answer is not HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Another status than 200, or a redirect that leads nowhere.
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    /// A redirect to what is no https URL as a `jwks_uri` must be, or too many of them.
    #[error("the answer redirects to where it must not")]
    Redirect,
    /// Larger than is read, or broken off.
    #[error("the document is larger than is read, or was broken off")]
    Body,
    /// Out of time.
    #[error("it took too long")]
    Slow,
}

impl GuardedClient {
    /// The document at a URL.
    pub async fn get(&self, uri: &JwksUri) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.follow(uri)).await.map_err(|_| FetchError::Slow)?
    }

    async fn follow(&self, uri: &JwksUri) -> Result<Bytes, FetchError> {
        let mut uri = uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.ask(&uri).await? {
                Answer::Document(document) => return Ok(document),
                Answer::Elsewhere(location) => uri = uri.redirected(&location).ok_or(FetchError::Redirect)?,
            }
        }
        Err(FetchError::Redirect)
    }

    async fn ask(&self, uri: &JwksUri) -> Result<Answer, FetchError> {
        if !self.allowed_hosts.allows(uri) {
            return Err(FetchError::Host(uri.authority()));
        }
        let stream = self.connect(uri).await?;
        exchange(stream, &self.tls, uri, MAX_BYTES).await
    }

    /// Connects to an address that was judged, and not to what a second look at the name might give.
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

/// What a server said.
pub(in crate::trust_sources) enum Answer {
    /// 200, and this.
    Document(Bytes),
    /// A redirect.
    Elsewhere(String),
}

/// Asks over this stream for the document at a URL, of at most so many bytes, and drops the stream.
pub(in crate::trust_sources) async fn exchange(
    stream: TcpStream,
    tls: &Arc<ClientConfig>,
    uri: &JwksUri,
    max_bytes: usize,
) -> Result<Answer, FetchError> {
    let name = ServerName::try_from(uri.host().to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(uri.path_and_query())
        .header(HOST, uri.authority())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    trace_context::inject_parent(request.headers_mut());
    let exchange = async { read(sender.send_request(request).await?, max_bytes).await };
    tokio::pin!(exchange, connection);
    // Driven here rather than by a task of its own: when the time is up, the connection goes with all else.
    tokio::select! {
        answer = &mut exchange => return answer,
        // Whether it ended well is for the exchange to say, which may have all that it needs.
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
            location.map(|location| Answer::Elsewhere(location.to_owned())).ok_or(FetchError::Status(status))
        }
        status => Err(FetchError::Status(status)),
    }
}
