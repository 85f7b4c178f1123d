//! TLS towards servers that this one asks: where clients publish their certificates, trust
//! domains their bundles, and where traces go.

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
use rustls::pki_types::pem::PemObject as _;
use spiffe::SpiffeId;

use crate::authority::clock::Clock;
use crate::authority::trust::Anchors;
use crate::tls::acceptor::AuthorityTime;
use crate::tls::svid_server::SvidServerVerifier;

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No CA certificate in the file, or broken ones.
    #[error("{0} holds no PEM certificates of CAs, or broken ones")]
    NotPem(PathBuf),
    /// The machine has no roots.
    #[error(
        "this machine has no CA certificates: name a file with jwks_uri.ca, telemetry.otlp.ca, or ca in federation"
    )]
    NoRoots,
    /// The cryptography has no common ground with TLS.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Trusts the CAs in a PEM file, or those of the machine, and shows no certificate of our own: nothing of what this server
/// may do goes with its questions.
pub fn config(
    ca: Option<&Path>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, OutboundError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let pem = std::fs::read(path).map_err(|error| OutboundError::Unreadable { path: path.to_owned(), error })?;
        let not_pem = || OutboundError::NotPem(path.to_owned());
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|_| not_pem())?).map_err(|_| not_pem())?;
        }
        if roots.is_empty() {
            return Err(not_pem());
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(OutboundError::NoRoots);
        }
    }
    let config = ClientConfig::builder_with_details(provider, Arc::new(AuthorityTime(clock)))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(settled(config))
}

/// Trusts the one server that proves this SPIFFE ID to the roots of its trust domain, as they are at each handshake. No other
/// CA counts, the machine's neither.
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
    Ok(settled(config))
}

fn settled(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}
