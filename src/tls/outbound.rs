//! TLS client configurations for outgoing connections: `jwks_uri` documents, bundle endpoints, the OpenTelemetry
//! collector and etcd.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::DEFAULT_VERSIONS;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use spiffe::SpiffeId;
use zeroize::Zeroizing;

use crate::authority::clock::Clock;
use crate::authority::json::without_byte_order_mark;
use crate::authority::trust::Anchors;
use crate::tls::CertificateFiles;
use crate::tls::acceptor::AuthorityTime;
use crate::tls::svid_server::SvidServerVerifier;

/// Why a TLS client configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The file holds no CA certificate, or a broken one.
    #[error("{0} holds no PEM certificates of CAs, or broken ones")]
    NotPem(PathBuf),
    /// The machine has no CA certificates.
    #[error(
        "this machine has no CA certificates: name a file with jwks_uri.ca, telemetry.otlp.ca, or ca in federation"
    )]
    NoRoots,
    /// The client certificate, or its key, cannot be read or used.
    #[error("the client certificate {certificate} with the key {key} cannot be used: {problem}")]
    Client {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why.
        problem: String,
    },
    /// The crypto provider supports no TLS version.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Trusts the CAs in a PEM file, or the machine's. It sends no client certificate: the servers asked get none of this
/// server's rights.
pub fn config(
    ca: Option<&Path>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, OutboundError> {
    let roots = if let Some(path) = ca {
        roots_in(path)?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    if roots.is_empty() {
        return Err(OutboundError::NoRoots);
    }
    let config = ClientConfig::builder_with_details(provider, Arc::new(AuthorityTime(clock)))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(finish(config))
}

/// Which server is the right one.
#[derive(Clone, Debug)]
pub enum ExpectedServer {
    /// One whose certificate leads to a CA in this PEM file and has the host's name.
    Ca(PathBuf),
    /// One with this SPIFFE ID, proven by these roots.
    Svid(SpiffeId, Anchors),
}

/// What a server is shown.
#[derive(Clone, Debug)]
pub enum ClientCertificate {
    /// No certificate.
    Nothing,
    /// The certificate in these files.
    Files(CertificateFiles),
    /// This certificate, whatever the server asks for.
    Held(Arc<CertifiedKey>),
}

/// Trusts this server only, for HTTP/2, and presents a client certificate if there is one.
pub fn mutual_config(
    server: ExpectedServer,
    client: &ClientCertificate,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, OutboundError> {
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(AuthorityTime(clock)))
        .with_protocol_versions(DEFAULT_VERSIONS)?;
    let builder = match server {
        ExpectedServer::Ca(ca) => builder.with_root_certificates(roots_in(&ca)?),
        ExpectedServer::Svid(id, roots) => {
            let verifier = SvidServerVerifier { id, roots: Arc::new(ArcSwap::from_pointee(roots)), provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match client {
        ClientCertificate::Nothing => builder.with_no_client_auth(),
        ClientCertificate::Held(key) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))))
        }
        ClientCertificate::Files(files) => {
            let unusable = |problem: String| OutboundError::Client {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
                problem,
            };
            let pem = |path: &Path| std::fs::read(path).map_err(|error| unusable(error.to_string()));
            let chain = pem(&files.certificate)?;
            let chain = CertificateDer::pem_slice_iter(without_byte_order_mark(&chain)).collect::<Result<Vec<_>, _>>();
            let chain = chain.map_err(|error| unusable(error.to_string()))?;
            let key = Zeroizing::new(pem(&files.key)?);
            let key = PrivateKeyDer::from_pem_slice(without_byte_order_mark(&key));
            let key = key.map_err(|error| unusable(error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The CA certificates in a PEM file: at least one.
fn roots_in(path: &Path) -> Result<RootCertStore, OutboundError> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(path).map_err(|error| OutboundError::Unreadable { path: path.to_owned(), error })?;
    let not_pem = || OutboundError::NotPem(path.to_owned());
    for certificate in CertificateDer::pem_slice_iter(without_byte_order_mark(&pem)) {
        roots.add(certificate.map_err(|_| not_pem())?).map_err(|_| not_pem())?;
    }
    if roots.is_empty() { Err(not_pem()) } else { Ok(roots) }
}

/// Trusts only a server that presents an X509-SVID with this SPIFFE ID. The SVID is verified at each handshake against
/// the current roots of its trust domain. No other CA is trusted, not even the machine's.
pub fn svid_config(
    id: SpiffeId,
    roots: Arc<ArcSwap<Anchors>>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, OutboundError> {
    let verifier = SvidServerVerifier { id, roots, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_details(provider, Arc::new(AuthorityTime(clock)))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(finish(config))
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}
