//! Clients that connect to the listeners in unusual ways, and report the outcome.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use rustls::AlertDescription;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

/// No operation takes this long; the limit keeps a hanging test from blocking the others.
const TOO_LONG: Duration = Duration::from_secs(30);

/// The output of a future that must complete.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TOO_LONG, future).await.expect("it hangs")
}

/// The outcome of a connection.
#[derive(Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The head and body of the answer to `GET /oauth2/jwks`.
    Answered(String),
    /// The server ended the handshake with this alert.
    Alert(AlertDescription),
    /// The connection ended without an answer.
    Closed,
}

impl Outcome {
    pub fn is_jwks(&self) -> bool {
        matches!(self, Self::Answered(text) if text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("{\"keys\":["))
    }

    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            Some(Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(error) => panic!("the client itself refused: {error}"),
            None => Self::Closed,
        }
    }
}

/// Requests the keys over HTTP/1.1 on a new connection to `localhost`.
pub async fn knock(address: SocketAddr, mut config: ClientConfig) -> Outcome {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    knock_as("localhost", TcpStream::connect(address).await.unwrap(), config).await
}

/// The same with this server name, over this stream, with ALPN as in `config`.
pub async fn knock_as<S: AsyncRead + AsyncWrite + Unpin>(name: &str, stream: S, config: ClientConfig) -> Outcome {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(async {
        match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(mut stream) => request(&mut stream, "/oauth2/jwks").await,
            Err(error) => Outcome::of(&error),
        }
    })
    .await
}

/// Sends a request over HTTP/1.1 that is the last on its connection.
pub async fn request<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, path: &str) -> Outcome {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    // In TLS 1.3 the server may have refused by now; the reason is still to be read.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Outcome::of(&error),
        _ if answer.is_empty() => Outcome::Closed,
        _ => Outcome::Answered(String::from_utf8(answer).unwrap()),
    }
}

/// A connection for HTTP/2.
pub async fn connect_h2(server: &TestServer, leaf: &Leaf) -> TlsStream<TcpStream> {
    crate::support::server::connect(server.addresses.mtls, server.tls(leaf)).await.unwrap()
}

/// Reads until the server ends the connection, and returns the bytes.
pub async fn read_to_end<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut read = Vec::new();
    // An end without close_notify is accepted too.
    drop(within(stream.read_to_end(&mut read)).await);
    read
}

/// Checks that a new client with a valid certificate is served, over both versions of HTTP.
pub async fn assert_serves(server: &TestServer, after: &str) {
    let leaf = server.svid("/newcomer");
    let outcome = knock(server.addresses.mtls, server.tls(&leaf)).await;
    assert!(outcome.is_jwks(), "after {after}: {outcome:?}");
    let answer = within(KeyServiceClient::new(server.channel(&leaf)).get_jwks(GetJwksRequest {})).await;
    assert!(answer.is_ok(), "after {after}: {answer:?}");
}

/// Accepts every server certificate, for any name.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
