//! TLS towards servers that this one asks: where clients publish their certificates.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::DEFAULT_VERSIONS;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::authority::clock::Clock;
use crate::tls::acceptor::AuthorityTime;

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
    #[error("this machine has no CA certificates: name a file with jwks_uri.ca")]
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
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(AuthorityTime(clock)))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
