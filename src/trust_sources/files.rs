//! Bundles and client CAs from PEM files, and the keys of trusted issuers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use spiffe::TrustDomain;

use crate::authority::json::without_byte_order_mark;
use crate::authority::trust::Anchors;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::InvalidAnchor;
use crate::authority::trust::InvalidBundleDocument;
use crate::authority::trust::IssuerKeys;
use crate::authority::trust::JwtAuthorities;
use crate::authority::trust::TrustBundles;
use crate::authority::trust::TrustedIssuer;

/// The files with the bundles and the client CAs.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The server's own trust domain. If its bundle is among these, this server publishes it.
    pub own: Option<TrustDomain>,
    /// The bundle of each trust domain, PEM.
    pub bundles: BTreeMap<TrustDomain, PathBuf>,
    /// The certificates of each client CA, PEM.
    pub client_cas: BTreeMap<String, PathBuf>,
    /// The trusted issuers whose keys are in files, each a JWK Set.
    pub issuers: Vec<(Arc<TrustedIssuer>, PathBuf)>,
}

/// Why a file cannot be used. A missing or empty file is an error like a broken one: no other root takes its place.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file holds no PEM certificate, or a broken one.
    #[error("{0} holds no PEM certificates, or broken ones")]
    NotPem(PathBuf),
    /// The file is not a JWK Set, or not a valid SPIFFE bundle document.
    #[error("{path}: {error}")]
    Document {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: InvalidBundleDocument,
    },
    /// The JWK Set of a trusted issuer has no key that could verify its JWTs.
    #[error("{0} holds a JWK Set without a key that verifies: RSA or EC, with a kid, and of no other use than sig")]
    NoKeys(PathBuf),
    /// The bundle document in the file has no root for X509-SVIDs.
    #[error("{0} holds a bundle document without a key for X509-SVIDs")]
    NoRoots(PathBuf),
    /// A certificate in the file is not a CA certificate that can be a root.
    #[error("{path}: {error}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: InvalidAnchor,
    },
}

/// The contents of the files when they were last read.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Contents {
    files: Vec<Vec<u8>>,
    own: Vec<CertificateDer<'static>>,
}

impl Contents {
    /// The roots of the server's own trust domain; empty if no file holds them.
    pub fn own(&self) -> &[CertificateDer<'static>] {
        &self.own
    }
}

/// Reads all files.
pub fn load(config: &Config) -> Result<(TrustBundles, Contents), TrustFileError> {
    let mut contents = Contents::default();
    let mut bundles = TrustBundles::default();
    for (trust_domain, path) in &config.bundles {
        let certificates = certificates(path, &mut contents)?;
        bundles.trust_domains.insert(trust_domain.clone(), anchors(path, &certificates)?.into());
        if config.own.as_ref() == Some(trust_domain) {
            contents.own = certificates;
        }
    }
    for (name, path) in &config.client_cas {
        bundles.client_cas.insert(name.clone(), anchors(path, &certificates(path, &mut contents)?)?);
    }
    for (trusted, path) in &config.issuers {
        let text = read(path)?;
        let keys = issuer_keys(path, &text)?;
        contents.files.push(text);
        let keys = IssuerKeys { trusted: Arc::clone(trusted), keys, confirmed: None, good_until: None };
        bundles.issuers.insert(trusted.issuer.clone(), keys);
    }
    Ok((bundles, contents))
}

/// The keys in the JWK Set of an issuer.
fn issuer_keys(path: &Path, text: &[u8]) -> Result<JwtAuthorities, TrustFileError> {
    let document = BundleDocument::parse(text);
    let document = document.map_err(|error| TrustFileError::Document { path: path.to_owned(), error })?;
    let keys = Some(document.signing).filter(|keys| keys.all().next().is_some());
    keys.ok_or_else(|| TrustFileError::NoKeys(path.to_owned()))
}

/// Reads the roots of one trust domain from a file: PEM, or a SPIFFE bundle document.
pub fn roots(path: &Path) -> Result<Anchors, TrustFileError> {
    let text = read(path)?;
    if without_byte_order_mark(&text).trim_ascii_start().first() != Some(&b'{') {
        return anchors(path, &pem(path, &text)?);
    }
    let document = BundleDocument::parse(&text);
    let document = document.map_err(|error| TrustFileError::Document { path: path.to_owned(), error })?;
    let roots = Some(document.bundle.x509).filter(|roots| !roots.is_empty());
    roots.ok_or_else(|| TrustFileError::NoRoots(path.to_owned()))
}

fn certificates(path: &Path, contents: &mut Contents) -> Result<Vec<CertificateDer<'static>>, TrustFileError> {
    let text = read(path)?;
    let certificates = pem(path, &text)?;
    contents.files.push(text);
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TrustFileError> {
    fs::read(path).map_err(|error| TrustFileError::Unreadable { path: path.to_owned(), error })
}

fn pem(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustFileError> {
    CertificateDer::pem_slice_iter(without_byte_order_mark(text))
        .collect::<Result<_, _>>()
        .ok()
        .filter(|certificates: &Vec<_>| !certificates.is_empty())
        .ok_or_else(|| TrustFileError::NotPem(path.to_owned()))
}

fn anchors(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<Anchors, TrustFileError> {
    Anchors::new(certificates).map_err(|error| TrustFileError::Anchor { path: path.to_owned(), error })
}
