//! Reads certificates and keys from files, and says what is wrong with which of them.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::cli::error::CommandError;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum FileError {
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{0} is not PEM, or its PEM is broken")]
    NotPem(PathBuf),
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    #[error("{0} holds no private key")]
    NoKey(PathBuf),
    #[error("the private key in {0} is encrypted")]
    EncryptedKey(PathBuf),
}

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        let next = match &error {
            FileError::Unreadable(..) => "see whether the path is right and whether you may read it",
            FileError::NotPem(_) | FileError::NoCertificate(_) => {
                "name a file with -----BEGIN CERTIFICATE----- blocks, the workload's own certificate first"
            }
            FileError::NoKey(_) => {
                "name a file with a -----BEGIN PRIVATE KEY----- block; mind that --cert and --key differ"
            }
            FileError::EncryptedKey(_) => {
                "decrypt it with `openssl pkey -in FILE -out FILE`, in a place that only you can read"
            }
        };
        Self::new(error.to_string(), next)
    }
}

/// Reads the certificates of a PEM file; there is at least one.
pub(in crate::cli) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_in(path, &read(path)?)
}

/// Reads the first certificate of a PEM file, or the one in a DER file.
pub(in crate::cli) fn certificate(path: &Path) -> Result<CertificateDer<'static>, FileError> {
    let bytes = read(path)?;
    // A DER certificate is a SEQUENCE of a length that itself takes bytes: no text begins so.
    if matches!(*bytes, [0x30, 0x80..=0xff, ..]) {
        return Ok(CertificateDer::from(bytes));
    }
    let first = certificates_in(path, &bytes)?.into_iter().next();
    first.ok_or_else(|| FileError::NoCertificate(path.to_owned()))
}

/// Reads the private key of a PEM file.
pub(in crate::cli) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
        let text = String::from_utf8_lossy(&bytes);
        if encrypted.iter().any(|mark| text.contains(mark)) {
            FileError::EncryptedKey(path.to_owned())
        } else {
            FileError::NoKey(path.to_owned())
        }
    })
}

fn certificates_in(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|_| FileError::NotPem(path.to_owned()))?;
    if found.is_empty() { Err(FileError::NoCertificate(path.to_owned())) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::Unreadable(path.to_owned(), error))
}
