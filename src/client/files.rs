//! Reads certificates and keys from files, and reports which file is wrong and why.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::client::pair::PairError;
use crate::client::pair::certified_key;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is not PEM, or its PEM is broken.
    #[error("{0} is not PEM, or its PEM is broken")]
    NotPem(PathBuf),
    /// The file contains no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The file contains no private key.
    #[error("{0} holds no private key")]
    NoKey(PathBuf),
    /// The private key is encrypted.
    #[error("the private key in {0} is encrypted")]
    EncryptedKey(PathBuf),
    /// The file contains a certificate that is not a CA's.
    #[error("{0} holds what is no CA certificate: {1}")]
    NotCa(PathBuf, #[source] rustls::Error),
    /// The key does not match the certificate.
    #[error("the certificate in {0} and the key in {1} do not go together")]
    NotTogether(PathBuf, PathBuf),
    /// The first certificate in the file cannot be parsed.
    #[error("the first certificate in {0} cannot be read")]
    NotACertificate(PathBuf),
    /// TLS does not support the kind of key.
    #[error("the key in {0} cannot be used: {1}")]
    UnsupportedKey(PathBuf, #[source] PairError),
}

/// The PEM files with the trusted CAs, and with the workload's certificate and key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionFiles {
    /// The CA certificates that are trusted for the server. The system's CAs are not trusted.
    pub ca: PathBuf,
    /// The workload's certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// The private key of the workload's certificate.
    pub key: PathBuf,
}

/// The contents of the files at one moment.
#[derive(Debug)]
pub(crate) struct Contents {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        self.ca == other.ca && self.cert == other.cert && *self.key == *other.key
    }
}

impl ConnectionFiles {
    /// Reads the three files.
    pub(crate) fn read(&self) -> Result<Contents, FileError> {
        Ok(Contents { ca: read(&self.ca)?, cert: read(&self.cert)?, key: Zeroizing::new(read(&self.key)?) })
    }

    /// The certificate chain in `contents`, leaf first.
    pub(crate) fn chain(&self, contents: &Contents) -> Result<Vec<CertificateDer<'static>>, FileError> {
        certificates_in(&self.cert, &contents.cert)
    }

    /// A TLS client that trusts only the CAs in `contents` and presents the certificate in them.
    pub(crate) fn tls(&self, contents: &Contents) -> Result<ClientConfig, FileError> {
        let roots = certificates_in(&self.ca, &contents.ca)?;
        let chain = self.chain(contents)?;
        let key = private_key_in(&self.key, &contents.key)?;
        client_tls(roots, chain, &key).map_err(|error| match error {
            ClientTlsError::Root(error) | ClientTlsError::Provider(error) => FileError::NotCa(self.ca.clone(), error),
            ClientTlsError::Pair(PairError::Mismatch) => FileError::NotTogether(self.cert.clone(), self.key.clone()),
            ClientTlsError::Pair(PairError::NotACertificate) => FileError::NotACertificate(self.cert.clone()),
            ClientTlsError::Pair(error @ PairError::UnsupportedKey) => {
                FileError::UnsupportedKey(self.key.clone(), error)
            }
        })
    }
}

/// Why no TLS client can be made.
#[derive(Debug, thiserror::Error)]
pub(in crate::client) enum ClientTlsError {
    #[error("a root is no CA certificate: {0}")]
    Root(#[source] rustls::Error),
    #[error("the certificate and the key cannot be used: {0}")]
    Pair(#[source] PairError),
    #[error(transparent)]
    Provider(rustls::Error),
}

/// A TLS client that trusts only these roots. Sessions are never resumed, so each handshake presents the present
/// certificate.
pub(in crate::client) fn client_tls(
    roots: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<ClientConfig, ClientTlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(ClientTlsError::Root)?;
    }
    let own = certified_key(chain, key).map_err(ClientTlsError::Pair)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ClientTlsError::Provider)?
        .with_root_certificates(store)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Reads the certificates of a PEM file, at least one.
pub(in crate::client) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_in(path, &read(path)?)
}

/// Reads the first certificate of a PEM file, or that of a DER file.
pub fn certificate(path: &Path) -> Result<CertificateDer<'static>, FileError> {
    certificate_chain(path)?.into_iter().next().ok_or_else(|| FileError::NoCertificate(path.to_owned()))
}

/// Reads the certificates of a PEM file, at least one, or that of a DER file.
pub fn certificate_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    // A DER certificate is a SEQUENCE with a length in the long form. No text begins with these bytes.
    if matches!(*bytes, [0x30, 0x80..=0xff, ..]) { Ok(vec![bytes.into()]) } else { certificates_in(path, &bytes) }
}

fn private_key_in(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(without_byte_order_mark(bytes)).map_err(|_| {
        let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
        let text = String::from_utf8_lossy(bytes);
        if encrypted.iter().any(|mark| text.contains(mark)) {
            FileError::EncryptedKey(path.to_owned())
        } else {
            FileError::NoKey(path.to_owned())
        }
    })
}

fn certificates_in(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_byte_order_mark(bytes)).collect();
    let found = found.map_err(|_| FileError::NotPem(path.to_owned()))?;
    if found.is_empty() { Err(FileError::NoCertificate(path.to_owned())) } else { Ok(found) }
}

/// A text without the UTF-8 byte order mark that some editors put before it.
fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::Unreadable(path.to_owned(), error))
}
