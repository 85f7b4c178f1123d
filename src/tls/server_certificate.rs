//! The server's own certificate, which can change while connections are served.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

/// The certificate that new handshakes present.
#[derive(Debug)]
pub struct ServerCertificate {
    files: (PathBuf, PathBuf),
    provider: Arc<CryptoProvider>,
    present: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    pem: (Vec<u8>, Vec<u8>),
    key: Arc<CertifiedKey>,
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file has no PEM block of the kind that is wanted.
    #[error("{0} holds no PEM {1}")]
    NotPem(PathBuf, &'static str),
    /// The key does not belong to the certificate, or is of a kind that TLS does not take.
    #[error("the private key in {0} is not the one of the certificate in {1}")]
    Mismatch(PathBuf, PathBuf),
}

impl ServerCertificate {
    /// Reads a certificate chain and its private key.
    pub fn open(certificate: &Path, key: &Path, provider: Arc<CryptoProvider>) -> Result<Self, CertificateFileError> {
        let files = (certificate.to_owned(), key.to_owned());
        let loaded = load(&files, &provider)?;
        Ok(Self { files, provider, present: ArcSwap::from_pointee(loaded) })
    }

    /// Reads the files again, and says whether they have changed. A broken one leaves the present certificate in place.
    pub fn reload(&self) -> Result<bool, CertificateFileError> {
        let loaded = load(&self.files, &self.provider)?;
        let changed = loaded.pem != self.present.load().pem;
        if changed {
            self.present.store(Arc::new(loaded));
        }
        Ok(changed)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.present.load().key))
    }
}

fn load((certificate, key): &(PathBuf, PathBuf), provider: &CryptoProvider) -> Result<Loaded, CertificateFileError> {
    let read =
        |path: &Path| fs::read(path).map_err(|error| CertificateFileError::Unreadable { path: path.to_owned(), error });
    let pem = (read(certificate)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.0)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| CertificateFileError::NotPem(certificate.clone(), "certificate"))?;
    let private =
        PrivateKeyDer::from_pem_slice(&pem.1).map_err(|_| CertificateFileError::NotPem(key.clone(), "private key"))?;
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|_| CertificateFileError::Mismatch(key.clone(), certificate.clone()))?;
    Ok(Loaded { pem, key: Arc::new(certified) })
}
