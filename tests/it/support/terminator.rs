//! A terminator of TLS in front of the server, and what it says of its clients.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::support::forwarded::byte_sequence;
use crate::support::forwarded::sha256;
use crate::support::forwarded::url_encoded;
use crate::support::http::Http;
use crate::support::leaf::Leaf;
use crate::support::leaf::pem;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;

pub const TERMINATOR: &str = "spiffe://prod.example/ingress";

/// The three kinds of listeners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Unix,
    Mtls,
    Tcp,
}

pub const KINDS: [Kind; 3] = [Kind::Unix, Kind::Mtls, Kind::Tcp];

/// A byte stream of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How to reach the listener.
#[derive(Clone)]
pub struct Terminator {
    address: Option<SocketAddr>,
    path: PathBuf,
    kind: Kind,
    tls: ClientConfig,
}

/// The user that the tests run as.
pub fn own_uid(setup: &Setup) -> u32 {
    setup.dir.path().metadata().unwrap().uid()
}

pub fn listen(setup: &mut Setup, kind: Kind) {
    setup.forwarded = Some(match kind {
        Kind::Unix => format!("{{unix: forwarded.sock, peer_uid: {}}}", own_uid(setup)),
        Kind::Mtls => format!("{{mtls: '127.0.0.1:0', terminator: '{TERMINATOR}'}}"),
        Kind::Tcp => "{tcp: '127.0.0.1:0', insecure: true}".to_owned(),
    });
}

impl TestServer {
    /// One that a terminator passes requests on to.
    pub async fn behind(kind: Kind) -> Self {
        Self::started(|setup| listen(setup, kind)).await
    }

    /// The terminator, with its own certificate.
    pub fn terminator(&self, kind: Kind) -> Terminator {
        Terminator {
            address: self.server.forwarded_address(),
            path: self.setup.path("forwarded.sock"),
            kind,
            tls: self.tls(&self.svid("/ingress")),
        }
    }
}

impl Terminator {
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        self.connect_speaking(b"h2").await
    }

    async fn connect_speaking(&self, alpn: &[u8]) -> io::Result<Box<dyn Stream>> {
        Ok(match self.kind {
            Kind::Unix => Box::new(UnixStream::connect(&self.path).await?),
            Kind::Mtls => {
                let mut tls = self.tls.clone();
                tls.alpn_protocols = vec![alpn.to_vec()];
                Box::new(connect(self.address.unwrap(), tls).await?)
            }
            Kind::Tcp => Box::new(TcpStream::connect(self.address.unwrap()).await?),
        })
    }

    /// A connection that stays open, over which HTTP/1.1 is spoken.
    pub async fn http(&self) -> Http {
        Http::one(self.connect_http1().await.unwrap()).await
    }

    pub async fn connect_http1(&self) -> io::Result<Box<dyn Stream>> {
        self.connect_speaking(b"http/1.1").await
    }

    /// The same over HTTP/2.
    pub async fn http2(&self) -> Http {
        Http::two(self.connect().await.unwrap()).await
    }

    pub fn channel(&self) -> Channel {
        let terminator = self.clone();
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let terminator = terminator.clone();
            async move { terminator.connect().await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
    }
}

/// What Envoy writes of a client, set to show certificates and URI names.
pub fn xfcc(leaf: &Leaf) -> String {
    format!("Hash={};Cert=\"{}\"", hex::encode(sha256(leaf.certificate())), url_encoded(&pem(leaf.certificate())))
}

/// RFC 9440.
pub fn client_cert(leaf: &Leaf) -> String {
    byte_sequence(leaf.certificate())
}

/// A message with these header lines.
pub fn carrying<T>(message: T, headers: &[(&'static str, String)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// A request with these header lines.
pub fn with_headers<B>(
    mut request: axum::http::Request<B>,
    headers: &[(&'static str, String)],
) -> axum::http::Request<B> {
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}
