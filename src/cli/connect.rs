//! The connection to a running server: mutual TLS, with nothing trusted but what the flags name.

use std::error::Error;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tower::service_fn;

use crate::cli::credentials;
use crate::cli::error::CommandError;

/// For the TCP connection and the TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For each call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

const DEFAULT_PORT: u16 = 443;

/// Which server to talk to, and as whom. The same flags for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(in crate::cli) struct ConnectionArguments {
    /// The server's mTLS listener.
    #[arg(long, value_name = "URL", env = "LANYARD_SERVER", default_value = "https://localhost:8443", value_parser = server_url)]
    server: Uri,
    /// PEM file with the CA certificates that may vouch for the server. The system's are not trusted.
    #[arg(long, value_name = "FILE", env = "LANYARD_CA")]
    ca: PathBuf,
    /// PEM file with your certificate, followed by its intermediates.
    #[arg(long, value_name = "FILE", env = "LANYARD_CERT")]
    cert: PathBuf,
    /// PEM file with the private key of your certificate.
    #[arg(long, value_name = "FILE", env = "LANYARD_KEY")]
    key: PathBuf,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ConnectError {
    /// No TCP connection.
    #[error("cannot reach the server at {0}: {1}")]
    Unreachable(String, #[source] io::Error),
    /// Neither yes nor no.
    #[error("the server at {0} did not answer within {limit} seconds", limit = CONNECT_TIMEOUT.as_secs())]
    Silent(String),
    /// The TLS handshake failed.
    #[error("no TLS connection to {0}: {1}")]
    Tls(String, #[source] io::Error),
}

impl ConnectionArguments {
    /// The server on this machine, as the one whose files have this name.
    pub(in crate::cli) fn local(port: u16, dir: &Path, name: &str) -> Result<Self, CommandError> {
        let server = server_url(&format!("https://localhost:{port}"))
            .map_err(|problem| CommandError::new(problem, "choose another port"))?;
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        Ok(Self { server, ca: dir.join("ca.pem"), cert, key })
    }

    /// Connects.
    pub(in crate::cli) async fn open(&self) -> Result<Channel, CommandError> {
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        // A service rather than one stream: the server ends connections at their maximum age, and a long list of clients
        // goes on over the next one.
        let connect = service_fn(move |server: Uri| handshake(connector.clone(), server));
        let endpoint = Endpoint::from(self.server.clone()).timeout(CALL_TIMEOUT);
        endpoint.connect_with_connector(connect).await.map_err(|error| match find::<ConnectError>(&error) {
            Some(cause) => explain(cause),
            None => CommandError::new(
                format!("no connection to {}: {}", self.server, root_cause(&error)),
                "see whether --server names the mTLS listener, which speaks HTTP/2",
            ),
        })
    }

    fn tls(&self) -> Result<ClientConfig, CommandError> {
        let mut roots = RootCertStore::empty();
        for certificate in credentials::certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| {
                CommandError::new(
                    format!("{} holds what is no CA certificate: {error}", self.ca.display()),
                    "name the PEM file of the CA that issued the server's certificate with --ca",
                )
            })?;
        }
        let chain = credentials::certificates(&self.cert)?;
        let key = credentials::private_key(&self.key)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|error| {
                let (cert, key) = (self.cert.display(), self.key.display());
                CommandError::new(
                    format!("the certificate in {cert} and the key in {key} do not go together: {error}"),
                    "name the key that the certificate was issued for; in --cert, your own certificate comes first",
                )
            })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Says what failed and what to do about it.
pub(in crate::cli) fn explain(error: &ConnectError) -> CommandError {
    let next = match error {
        ConnectError::Unreachable(..) => "see whether the server runs, and whether --server names its host and port",
        ConnectError::Silent(_) => {
            "see whether --server names a lanyard server and whether a firewall or proxy is in between"
        }
        ConnectError::Tls(_, cause) => match tls_error(cause) {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                "the server's certificate was not issued by a CA in --ca: name the one that issued it"
            }
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => "use a host name in --server that the server's certificate bears",
            Some(rustls::Error::InvalidCertificate(_)) => "have the server's certificate renewed or mended",
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                "the server there speaks no HTTP/2: see whether --server names the mTLS listener"
            }
            Some(rustls::Error::AlertReceived(_)) => REFUSED_NEXT,
            Some(_) => "see whether --server names the mTLS listener, and look into the server's log",
            None => "the server ended the connection in the handshake: look into its log for the reason",
        },
    };
    CommandError::new(error.to_string(), next)
}

/// What to do about a certificate that the server lets nobody in with.
const REFUSED_NEXT: &str = "see that --cert is not expired and was issued by a CA, or in a trust domain, that the server \
    knows; a self-signed one must be registered first (the server's log says why it refused)";

/// Whether a call failed because the server refused our certificate. In TLS 1.3 the client has finished its handshake
/// before the server judges the certificate (RFC 8446 section 4.4), so that the refusal arrives with the first call.
pub(in crate::cli) fn refused_certificate(error: &(dyn Error + 'static)) -> Option<CommandError> {
    const ALERT: &str = "received fatal alert";
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    // HTTP/2 keeps the text of the alert only, not the alert.
    let alert = texts.iter().find(|text| text.contains(ALERT))?;
    let alert = alert.find(ALERT).and_then(|at| alert.get(at..)).unwrap_or(alert);
    Some(CommandError::new(format!("the server refused your certificate (TLS: {alert})"), REFUSED_NEXT))
}

/// The first error of a kind among an error and its causes.
pub(in crate::cli) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref::<E>())
}

async fn handshake(connector: TlsConnector, server: Uri) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = server.port_u16().unwrap_or(DEFAULT_PORT);
    let address = format!("{}:{port}", server.host().unwrap_or_default());
    let unreachable = |error| ConnectError::Unreachable(address.clone(), error);
    let name = ServerName::try_from(host.clone())
        .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
        let stream =
            connector.connect(name, stream).await.map_err(|error| ConnectError::Tls(address.clone(), error))?;
        Ok(TokioIo::new(stream))
    };
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(ConnectError::Silent(address.clone())))
}

fn server_url(text: &str) -> Result<Uri, &'static str> {
    const SHAPE: &str = "must be https://HOST:PORT, such as https://localhost:8443";
    let uri: Uri = text.parse().map_err(|_| SHAPE)?;
    let whole = uri.scheme_str() == Some("https")
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.path() == "/"
        && uri.query().is_none()
        && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if whole { Ok(uri) } else { Err(SHAPE) }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
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
