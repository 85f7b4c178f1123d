//! The server's certificate, which can be replaced while connections are served.

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
use crate::authority::json::without_byte_order_mark;
use crate::tls::CertificateFiles;
use crate::tls::possession::PairError;
use crate::tls::possession::certified_key;

/// The certificate that new handshakes present.
#[derive(Debug)]
pub struct ServerCertificate {
    /// `None` where the certificate comes from the Workload API.
    files: Option<CertificateFiles>,
    provider: Arc<CryptoProvider>,
    present: ArcSwapOption<Loaded>,
}

struct Loaded {
    /// The bytes of the certificates and of the key, compared to detect a change.
    read: (Vec<u8>, Vec<u8>),
    key: Arc<CertifiedKey>,
    /// `None` if rustls accepts the leaf but the core's stricter parser does not.
    not_after: Option<Timestamp>,
}

impl Loaded {
    fn new(read: (Vec<u8>, Vec<u8>), key: CertifiedKey) -> Self {
        let leaf = key.cert.first().and_then(|leaf| Certificate::parse(leaf).ok());
        Self { read, not_after: leaf.map(|leaf| leaf.not_after()), key: Arc::new(key) }
    }
}

/// Leaves out the private key.
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
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The file has no PEM block of the expected kind.
    #[error("{0} holds no PEM {1}")]
    NotPem(PathBuf, &'static str),
    /// The certificate and the key cannot be presented together.
    #[error("the certificate in {certificate} and the private key in {key} cannot be used: {error}")]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the private key.
        key: PathBuf,
        /// Why.
        error: PairError,
    },
}

impl ServerCertificate {
    /// Reads a certificate chain and its private key.
    pub fn open(files: CertificateFiles, provider: Arc<CryptoProvider>) -> Result<Self, CertificateFileError> {
        let loaded = load(&files, &provider)?;
        Ok(Self { files: Some(files), provider, present: ArcSwapOption::from_pointee(loaded) })
    }

    /// Holds no certificate. Every handshake fails until [`replace`](Self::replace) is called.
    pub fn empty(provider: Arc<CryptoProvider>) -> Self {
        Self { files: None, provider, present: ArcSwapOption::empty() }
    }

    /// Reads the files again. Returns whether they have changed. If they are invalid, the present certificate stays.
    pub fn reload(&self) -> Result<bool, CertificateFileError> {
        self.files.as_ref().map_or(Ok(false), |files| Ok(self.put(load(files, &self.provider)?)))
    }

    /// Presents this chain from now on. Returns whether it differs from the previous one. If the key does not match the
    /// leaf, the present certificate stays.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<bool, PairError> {
        let read = (chain.iter().flat_map(|one| one.to_vec()).collect(), key.secret_der().to_vec());
        let key = certified_key(chain, key, &self.provider)?;
        Ok(self.put(Loaded::new(read, key)))
    }

    /// The `notAfter` of the present certificate; `None` without a certificate, or if the core cannot parse it.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.present.load().as_ref().and_then(|present| present.not_after)
    }

    /// Whether there is a certificate that has not expired. The error is the code that the readiness probe reports.
    pub fn readiness(&self, now: Timestamp) -> Result<(), &'static str> {
        match &*self.present.load() {
            None => Err("server_certificate_missing"),
            Some(present) if present.not_after.is_some_and(|end| now > end) => Err("server_certificate_expired"),
            Some(_) => Ok(()),
        }
    }

    /// The certificate with its key.
    pub fn present(&self) -> Option<Arc<CertifiedKey>> {
        self.present.load().as_ref().map(|present| Arc::clone(&present.key))
    }

    /// Removes the certificate. Every handshake fails from now on.
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
        self.present()
    }
}

fn load(
    CertificateFiles { certificate, key }: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Loaded, CertificateFileError> {
    let read =
        |path: &Path| fs::read(path).map_err(|error| CertificateFileError::Unreadable { path: path.to_owned(), error });
    let read = (read(certificate)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(without_byte_order_mark(&read.0))
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| CertificateFileError::NotPem(certificate.clone(), "certificate"))?;
    let private = PrivateKeyDer::from_pem_slice(without_byte_order_mark(&read.1))
        .map_err(|_| CertificateFileError::NotPem(key.clone(), "private key"))?;
    let certified = certified_key(chain, private, provider).map_err(|error| {
        let (certificate, key) = (certificate.clone(), key.clone());
        CertificateFileError::Pair { certificate, key, error }
    })?;
    Ok(Loaded::new(read, certified))
}
