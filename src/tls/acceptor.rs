//! Runs the TLS handshake on an accepted connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::DEFAULT_VERSIONS;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use spiffe::SpiffeId;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::StartHandshake;
use tokio_rustls::server;

use crate::authority::Authority;
use crate::authority::access::PeerConnection;
use crate::authority::clock::Clock;
use crate::authority::identity::PresentedCertificate;
use crate::authority::trust::Unproven;
use crate::tls::ClientAuth;
use crate::tls::server_certificate::ServerCertificate;
use crate::tls::verifier::PeerVerifier;
use crate::tls::verifier::Rejected;

/// Runs the handshakes of the TLS listeners.
#[derive(Debug)]
pub struct Acceptor {
    authority: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    provider: Arc<CryptoProvider>,
    time: Arc<AuthorityTime>,
    client_auth: ClientAuth,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No rule accepts the client certificate.
    #[error("{0}")]
    Unproven(Unproven),
    /// The handshake failed for another reason: no certificate, no common version, or no TLS at all.
    #[error("{0}")]
    Handshake(io::Error),
    /// The handshake exceeded its time limit.
    #[error("the handshake took too long")]
    Slow,
    /// It comes from a load balancer, and does not say so as it must.
    #[error("{0}")]
    ProxyHeader(io::Error),
    /// Its place was given to another connection.
    #[error("the client kept the handshake waiting, and its place was given to another")]
    Displaced,
}

/// How long, and how many bytes, a refused client may still send before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;

/// A connection after its handshake. It is large, and moved several times on its way into HTTP.
pub type TlsStream<S> = Box<server::TlsStream<S>>;

/// A failed handshake, and its connection if that is still open.
#[derive(Debug)]
pub struct Refusal<S> {
    /// Why it failed.
    pub why: Refused,
    /// What the client's certificate says of its holder, if one was read. Possession of its key may not be proven.
    pub certificate: Option<PresentedCertificate>,
    stream: Option<S>,
}

impl<S> From<Refused> for Refusal<S> {
    fn from(why: Refused) -> Self {
        Self { why, certificate: None, stream: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Refusal<S> {
    /// Closes the connection so that the alert reaches the client. In TLS 1.3 a client sends its request before it is
    /// refused; closing a TCP connection with bytes that were not read resets it, and the reset overtakes the alert.
    pub async fn close(self) {
        let Some(mut stream) = self.stream else { return };
        let closing = async {
            stream.shutdown().await?;
            let (mut buffer, mut read) = ([0; 4096], 0);
            while read < LINGER_BYTES {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    count => read += count,
                }
            }
            Ok::<(), io::Error>(())
        };
        // The client may be gone by now, which needs no answer.
        drop(tokio::time::timeout(LINGER, closing).await);
    }
}

/// A whole `ClientHello`, and its connection. Nothing was computed for it so far. It is large, and each function that it is
/// handed on to would keep room for it.
#[derive(Debug)]
pub struct Hello<S>(Box<StartHandshake<S>>);

/// Reads the `ClientHello` of a connection.
pub async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<Hello<S>, Refusal<S>> {
    let mut reading = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    match (&mut reading).await {
        Ok(start) => Ok(Hello(Box::new(start))),
        Err(error) => Err(Refusal { why: Refused::Handshake(error), certificate: None, stream: reading.take_io() }),
    }
}

impl Acceptor {
    /// An acceptor that presents `certificate` and verifies client certificates with `authority`.
    pub fn new(
        authority: Arc<Authority>,
        certificate: Arc<ServerCertificate>,
        provider: Arc<CryptoProvider>,
        client_auth: ClientAuth,
    ) -> Self {
        let time = Arc::new(AuthorityTime(Arc::clone(authority.clock())));
        Self { authority, certificate, provider, time, client_auth }
    }

    /// A handshake with client authentication. Each connection has a verifier of its own, so that the result of the
    /// verification can be read afterwards without computing it again.
    pub async fn mutual<S>(&self, hello: Hello<S>) -> Result<(TlsStream<S>, Option<PeerConnection>), Refusal<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = PeerVerifier::new(Arc::clone(&self.authority), Arc::clone(&self.provider), self.client_auth);
        match self.handshake_with(verifier, hello).await {
            Ok((_, None)) if self.client_auth == ClientAuth::Require => Err(no_certificate().into()),
            outcome => outcome,
        }
    }

    /// A handshake that accepts only this client.
    pub async fn only_for<S>(
        &self,
        peer: SpiffeId,
        hello: Hello<S>,
    ) -> Result<(TlsStream<S>, PeerConnection), Refusal<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = PeerVerifier::new(Arc::clone(&self.authority), Arc::clone(&self.provider), self.client_auth);
        match self.handshake_with(verifier.only_for(peer), hello).await? {
            (stream, Some(peer)) => Ok((stream, peer)),
            (_, None) => Err(no_certificate().into()),
        }
    }

    async fn handshake_with<S>(
        &self,
        verifier: PeerVerifier,
        hello: Hello<S>,
    ) -> Result<(TlsStream<S>, Option<PeerConnection>), Refusal<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = Arc::new(verifier);
        let config = self
            .builder()?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<_>)
            .with_cert_resolver(Arc::clone(&self.certificate) as Arc<_>);
        let outcome = handshake(config, hello).await;
        match (outcome, verifier.take()) {
            (Ok(stream), Some(Ok(peer))) => {
                self.authority.note_seen(&peer.identity());
                Ok((stream, Some(peer)))
            }
            (Err(refusal), Some(Err(Rejected { unproven, certificate }))) => {
                let why = unproven.map_or(refusal.why, Refused::Unproven);
                Err(Refusal { why, certificate: Some(certificate), stream: refusal.stream })
            }
            (Err(refusal), Some(Ok(peer))) => {
                let certificate = PresentedCertificate::from(peer.identity().certificate());
                Err(Refusal { certificate: Some(certificate), ..refusal })
            }
            (Err(refusal), None) => Err(refusal),
            // A handshake with a rejected certificate does not succeed.
            (Ok(_), Some(Err(_))) => Err(no_certificate().into()),
            // Sessions are never resumed, so the client sent no certificate.
            (Ok(stream), None) => Ok((stream, None)),
        }
    }

    /// A handshake without client authentication.
    pub async fn server_only<S>(&self, hello: Hello<S>) -> Result<TlsStream<S>, Refusal<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.builder()?.with_no_client_auth().with_cert_resolver(Arc::clone(&self.certificate) as Arc<_>);
        handshake(config, hello).await
    }

    fn builder(&self) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Refused> {
        ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::clone(&self.time) as Arc<_>)
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|error| Refused::Handshake(io::Error::other(error)))
    }
}

fn no_certificate() -> Refused {
    Refused::Handshake(io::Error::other("no certificate was verified"))
}

async fn handshake<S>(config: ServerConfig, hello: Hello<S>) -> Result<TlsStream<S>, Refusal<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = config;
    // A resumed handshake skips the verifier, so a certificate would stay accepted for the life of a ticket. Resumption
    // is disabled.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let accepting = hello.0.into_stream(Arc::new(config)).into_fallible();
    accepting.await.map(Box::new).map_err(|(error, stream)| Refusal {
        why: Refused::Handshake(error),
        certificate: None,
        stream: Some(stream),
    })
}

/// The authority's clock as rustls's time source.
#[derive(Debug)]
pub(super) struct AuthorityTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for AuthorityTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().0)))
    }
}
