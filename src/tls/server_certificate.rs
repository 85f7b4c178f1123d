//! The server's own certificate, which can change while connections are served.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::tls::CertificateFiles;

/// The certificate that new handshakes present.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Not there where it is given from elsewhere.
    files: Option<CertificateFiles>,
    provider: Arc<CryptoProvider>,
    present: ArcSwapOption<Loaded>,
}

struct Loaded {
    /// The certificates and the key, as they were given.
    read: (Vec<u8>, Vec<u8>),
    key: Arc<CertifiedKey>,
    /// `None` if the leaf is read by TLS and not by the core, which is stricter.
    not_after: Option<Timestamp>,
}

impl Loaded {
    fn new(read: (Vec<u8>, Vec<u8>), key: CertifiedKey) -> Self {
        let leaf = key.cert.first().and_then(|leaf| Certificate::parse(leaf).ok());
        Self { read, not_after: leaf.map(|leaf| leaf.not_after()), key: Arc::new(key) }
    }
}

/// The private key reaches no log.
impl fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Loaded").field("key", &self.key).finish_non_exhaustive()
    }
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
    pub fn open(files: CertificateFiles, provider: Arc<CryptoProvider>) -> Result<Self, CertificateFileError> {
        let loaded = load(&files, &provider)?;
        Ok(Self { files: Some(files), provider, present: ArcSwapOption::from_pointee(loaded) })
    }

    /// Has none until it is given one; every handshake fails until then.
    pub fn awaited(provider: Arc<CryptoProvider>) -> Self {
        Self { files: None, provider, present: ArcSwapOption::empty() }
    }

    /// Reads the files again, and says whether they have changed. A broken one leaves the present certificate in place.
    pub fn reload(&self) -> Result<bool, CertificateFileError> {
        self.files.as_ref().map_or(Ok(false), |files| Ok(self.put(load(files, &self.provider)?)))
    }

    /// Presents this chain from now on, and says whether it is another one. A key that is not the chain's leaves the present
    /// certificate in place.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<bool, rustls::Error> {
        let read = (chain.iter().flat_map(|one| one.to_vec()).collect(), key.secret_der().to_vec());
        let key = CertifiedKey::from_der(chain, key, &self.provider)?;
        Ok(self.put(Loaded::new(read, key)))
    }

    /// The last second of what is presented; `None` where there is nothing, or it cannot be told.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.present.load().as_ref().and_then(|present| present.not_after)
    }

    /// Whether peers can accept what is presented; if not, the code for the probes.
    pub fn standing(&self, now: Timestamp) -> Result<(), &'static str> {
        match &*self.present.load() {
            None => Err("server_certificate_missing"),
            Some(present) if present.not_after.is_some_and(|end| now > end) => Err("server_certificate_expired"),
            Some(_) => Ok(()),
        }
    }

    /// Presents none from now on.
    pub fn withdraw(&self) {
        self.present.store(None);
    }

    fn put(&self, loaded: Loaded) -> bool {
        let changed = self.present.load().as_ref().is_none_or(|present| present.read != loaded.read);
        if changed {
            self.present.store(Some(Arc::new(loaded)));
        }
        changed
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.present.load().as_ref().map(|present| Arc::clone(&present.key))
    }
}

fn load(
    CertificateFiles { certificate, key }: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Loaded, CertificateFileError> {
    let read =
        |path: &Path| fs::read(path).map_err(|error| CertificateFileError::Unreadable { path: path.to_owned(), error });
    let read = (read(certificate)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read.0)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| CertificateFileError::NotPem(certificate.clone(), "certificate"))?;
    let private =
        PrivateKeyDer::from_pem_slice(&read.1).map_err(|_| CertificateFileError::NotPem(key.clone(), "private key"))?;
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|_| CertificateFileError::Mismatch(key.clone(), certificate.clone()))?;
    Ok(Loaded::new(read, certified))
}
