//! The connection flags: the server, and the caller's certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::CertificateDer;
use spiffe::transport::Endpoint;
use tonic::transport::Uri;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect_error;
use crate::cli::context::selected::SelectedContext;
use crate::cli::error::CommandError;
use crate::cli::origins;
use crate::cli::origins::Origins;
use crate::cli::token_error;
use crate::client::connection;
use crate::client::connection::Channel;
use crate::client::connection::ConnectError;
use crate::client::connection::server_url;
use crate::client::files;
use crate::client::files::ConnectionFiles;
use crate::client::files::FileError;
use crate::client::supply::Credentials;
use crate::client::token::TokenError;
use crate::trace_context::IncomingTrace;

/// The server to connect to, and the certificate to connect with. The same flags for every command.
/// The server that is asked where none is named.
pub(in crate::cli) const DEFAULT_SERVER: &str = "https://localhost:8443";

#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(in crate::cli) struct ConnectionArguments {
    // The first two: the fields below take their values out of what was parsed, and the origins with them.
    #[command(flatten)]
    origins: Origins,
    #[command(flatten)]
    context: SelectedContext,
    /// The server's mTLS listener.
    #[arg(long, value_name = "URL", env = origins::SERVER, default_value = DEFAULT_SERVER, value_parser = server_url)]
    server: Uri,
    /// PEM file with the CA certificates that are trusted for the server. The system's are not trusted.
    /// With --workload-api it may be left out: the bundle of your own trust domain is then trusted.
    #[arg(long, value_name = "FILE", env = origins::CA)]
    ca: Option<PathBuf>,
    /// PEM file with your certificate, followed by its intermediates.
    #[arg(long, value_name = "FILE", env = origins::CERT)]
    cert: Option<PathBuf>,
    /// PEM file with the private key of your certificate.
    #[arg(long, value_name = "FILE", env = origins::KEY)]
    key: Option<PathBuf>,
    /// Take the certificate from the SPIFFE Workload API instead, at this socket or at the one in `SPIFFE_ENDPOINT_SOCKET`.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    workload_api: Option<String>,
    #[arg(long, env = "SPIFFE_ENDPOINT_SOCKET", hide = true)]
    spiffe_endpoint_socket: Option<String>,
    /// The parent span of the command (W3C Trace Context).
    #[arg(long, env = "TRACEPARENT", hide = true)]
    traceparent: Option<String>,
}

impl ConnectionArguments {
    /// The server on this machine, with the certificate and key files of this name.
    pub(in crate::cli) fn local(port: u16, dir: &Path, name: &str) -> Result<Self, CommandError> {
        let server = server_url(&format!("https://localhost:{port}"))
            .map_err(|problem| CommandError::new(problem, "choose another port"))?;
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        let (workload_api, spiffe_endpoint_socket, traceparent) = (None, None, None);
        let (ca, origins) = (Some(dir.join("ca.pem")), Origins::OWN);
        Ok(Self {
            origins,
            context: SelectedContext::NONE,
            server,
            ca,
            cert: Some(cert),
            key: Some(key),
            workload_api,
            spiffe_endpoint_socket,
            traceparent,
        })
    }

    /// Connects.
    pub(in crate::cli) async fn open(&self) -> Result<Channel, CommandError> {
        self.open_at(None).await
    }

    /// Connects to the server at this address, whose certificate must be valid for the name of the server that is named.
    pub(in crate::cli) async fn open_at(&self, address: Option<SocketAddr>) -> Result<Channel, CommandError> {
        let tls = self.credentials()?.now().await.map_err(|error| self.explain(error))?;
        let traceparent = self.traceparent.as_deref().unwrap_or_default();
        let incoming = IncomingTrace::from_raw(&[("traceparent", traceparent.as_bytes())]);
        connection::connect_at(self.server(), address, tls, incoming).await.map_err(|error| {
            let explained = match connection::find::<ConnectError>(&error) {
                Some(cause) => self.explain_connection(cause),
                None => CommandError::new(
                    format!("no connection to {}: {}", self.server(), connection::root_cause(&error)),
                    "see whether --server names the mTLS listener, which speaks HTTP/2",
                ),
            };
            explained.with_next(|next| self.origins.named_in(next, &self.context))
        })
    }

    /// The message for a certificate or a token that could not be had. The flags in it say which variable set them.
    pub(in crate::cli) fn explain(&self, error: TokenError) -> CommandError {
        let cause = error.status().and_then(|status| connection::find::<ConnectError>(status));
        let explained = match (&error, cause) {
            (_, Some(cause)) => self.explain_connection(cause),
            (TokenError::Files(file), None) => {
                let flag = self.flag_of(file);
                let explained = token_error::explain_token(error);
                explained.with_next(|next| flag.map_or(next.to_owned(), |flag| format!("{flag} names it: {next}")))
            }
            _ => token_error::explain_token(error),
        };
        explained.with_next(|next| self.origins.named_in(next, &self.context))
    }

    fn explain_connection(&self, cause: &ConnectError) -> CommandError {
        connect_error::explain(cause, self.leaf().as_ref(), SystemClock.now())
    }

    /// The flag that names the file; `None` where the message names it.
    fn flag_of(&self, error: &FileError) -> Option<&'static str> {
        let path = match error {
            FileError::Unreadable(path, _)
            | FileError::NotPem(path)
            | FileError::NoCertificate(path)
            | FileError::NotACertificate(path) => path,
            FileError::EncryptedKey(_) | FileError::UnsupportedKey(..) => return Some("--key"),
            FileError::NoKey(_) | FileError::NotCa(..) | FileError::NotTogether(..) => return None,
        };
        let flags = [("--ca", self.ca()), ("--cert", self.cert()), ("--key", self.key())];
        flags.into_iter().find(|(_, named)| *named == Some(path)).map(|(flag, _)| flag)
    }

    /// The certificate that the flags name; `None` where it comes from the Workload API.
    fn leaf(&self) -> Option<CertificateDer<'static>> {
        let path = self.cert().filter(|_| self.workload_api.is_none())?;
        files::certificate(path).ok()
    }

    /// The server's URL.
    pub(in crate::cli) fn server(&self) -> &Uri {
        self.context.server().filter(|_| self.origins.server_is_default()).unwrap_or(&self.server)
    }

    /// The name of the context that has a part in the connection.
    pub(in crate::cli) fn context(&self) -> Option<&str> {
        self.context.name()
    }

    fn ca(&self) -> Option<&Path> {
        self.ca.as_deref().or(self.context.ca())
    }

    fn cert(&self) -> Option<&Path> {
        self.cert.as_deref().or(self.context.cert())
    }

    fn key(&self) -> Option<&Path> {
        self.key.as_deref().or(self.context.key())
    }

    /// The trusted CAs, and the certificate and key, that the flags, the variables or the context name.
    pub(in crate::cli) fn credentials(&self) -> Result<Credentials, CommandError> {
        self.context.check()?;
        if let (None, Some(ca), Some(cert), Some(key)) = (&self.workload_api, self.ca(), self.cert(), self.key()) {
            let (ca, cert, key) = (ca.to_owned(), cert.to_owned(), key.to_owned());
            return Ok(Credentials::Files(ConnectionFiles { ca, cert, key }));
        }
        let named = self.workload_api.as_deref().filter(|named| !named.is_empty());
        let socket = named.or(self.spiffe_endpoint_socket.as_deref()).unwrap_or_default();
        let endpoint = Endpoint::parse(socket).map_err(|error| {
            CommandError::new(
                format!("'{socket}' is no Workload API socket: {error}"),
                "name it as unix:///PATH, with --workload-api=SOCKET or in SPIFFE_ENDPOINT_SOCKET",
            )
        })?;
        Ok(Credentials::WorkloadApi { endpoint, ca: self.ca().map(ToOwned::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use clap::Command;
    use clap::FromArgMatches as _;
    use rcgen::BasicConstraints;
    use rcgen::CertificateParams;
    use rcgen::CertifiedIssuer;
    use rcgen::DnType;
    use rcgen::IsCa;
    use rcgen::KeyPair;
    use rustls::RootCertStore;
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::PrivatePkcs8KeyDer;
    use tempfile::TempDir;
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn ca(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// Writes CA, certificate and key; returns flags that name them.
    fn flags(directory: &TempDir, server: &str, trusted: &Ca, issuer: &Ca) -> ConnectionArguments {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["client.example".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        ConnectionArguments {
            server: server_url(server).unwrap(),
            ca: Some(file("ca.pem", trusted.pem())),
            cert: Some(file("me.pem", leaf.pem())),
            key: Some(file("me-key.pem", key.serialize_pem())),
            workload_api: None,
            spiffe_endpoint_socket: None,
            traceparent: None,
            origins: Origins::OWN,
            context: SelectedContext::NONE,
        }
    }

    /// A server that accepts clients with a certificate of its CA, and then reads what it is sent.
    async fn serve(ca: &Ca) -> u16 {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, ca).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    // An empty SETTINGS frame: what a server that accepts the client sends first.
                    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                    let _read = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn a_refused_client_certificate_is_distinguished_from_other_failures() {
        let (server_ca, directory) = (ca("one"), TempDir::new().unwrap());
        let server = format!("https://localhost:{}", serve(&server_ca).await);
        let stranger = flags(&directory, &server, &server_ca, &ca("another"));
        let error = stranger.open().await.unwrap_err();
        assert!(error.to_string().contains("refused your certificate"), "{error}");
    }

    #[tokio::test]
    async fn a_certificate_of_the_servers_ca_is_accepted() {
        let (server_ca, directory) = (ca("one"), TempDir::new().unwrap());
        let server = format!("https://localhost:{}", serve(&server_ca).await);
        assert!(flags(&directory, &server, &server_ca, &server_ca).open().await.is_ok());
    }

    #[tokio::test]
    async fn a_server_of_another_ca_or_name_is_not_trusted() {
        let (server_ca, directory) = (ca("one"), TempDir::new().unwrap());
        let port = serve(&server_ca).await;
        for other_ca in [ca("another"), ca("one")] {
            let flags = flags(&directory, &format!("https://localhost:{port}"), &other_ca, &server_ca);
            let error = flags.open().await.unwrap_err();
            assert!(error.next().contains("--ca"), "{error} {}", error.next());
        }
        let other_name = flags(&directory, &format!("https://127.0.0.1:{port}"), &server_ca, &server_ca);
        let error = other_name.open().await.unwrap_err();
        assert!(error.next().contains("host name"), "{error} {}", error.next());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        let (ca, directory) = (ca("one"), TempDir::new().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = flags(&directory, &format!("https://127.0.0.1:{port}"), &ca, &ca).open().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot reach the server at 127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn a_wrong_file_is_named() {
        let (ca, directory) = (ca("one"), TempDir::new().unwrap());
        let right = || flags(&directory, "https://localhost:1", &ca, &ca);
        let (cert, key) = (directory.path().join("me.pem"), directory.path().join("me-key.pem"));
        let complaint = async |flags: ConnectionArguments| flags.open().await.unwrap_err().to_string();
        let missing = Path::new("/nowhere/ca.pem").to_owned();
        assert!(complaint(ConnectionArguments { ca: Some(missing), ..right() }).await.contains("/nowhere/ca.pem"));
        let swapped = complaint(ConnectionArguments { cert: Some(key.clone()), key: Some(cert), ..right() }).await;
        assert!(swapped.contains("me-key.pem holds no certificate"), "{swapped}");
        let flags = right();
        fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(complaint(flags).await.contains("do not go together"));
    }

    #[test]
    fn a_default_is_no_value_from_the_command_line() {
        let line = ["lanyard", "--ca", "ca.pem", "--cert", "me.pem", "--key", "me-key.pem"];
        let command =
            ConnectionArguments::augment_args(Command::new("lanyard")).mut_arg("server", |flag| flag.env(None));
        let origins = Origins::from_arg_matches(&command.get_matches_from(line)).unwrap();
        assert_eq!(origins.named_in("--server, --ca", &SelectedContext::NONE), "--server (or LANYARD_SERVER), --ca");
    }

    #[test]
    fn a_server_is_an_https_url_of_host_and_port() {
        for good in ["https://localhost:8443", "https://lanyard.example/", "https://[::1]:8443"] {
            assert!(server_url(good).is_ok(), "{good}");
        }
        for bad in ["localhost:8443", "http://localhost:8443", "https://me@localhost", "https://localhost/path", ""] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }
}
