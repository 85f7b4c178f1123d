//! Bundles and client CAs from PEM files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use spiffe::TrustDomain;

use crate::authority::trust::Anchors;
use crate::authority::trust::InvalidAnchor;
use crate::authority::trust::TrustBundles;

/// Which files vouch for whom.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The bundle of each trust domain, PEM.
    pub bundles: BTreeMap<TrustDomain, PathBuf>,
    /// The certificates of each client CA, PEM.
    pub client_cas: BTreeMap<String, PathBuf>,
}

/// Why a file cannot vouch for anybody. A missing or empty one is an error like a broken one: no other root ever steps in.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No PEM certificate in it, or broken ones.
    #[error("{0} holds no PEM certificates, or broken ones")]
    NotPem(PathBuf),
    /// A certificate in it is no root.
    #[error("{path}: {error}")]
    Anchor {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: InvalidAnchor,
    },
}

/// The files' contents as they were last read.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Contents(Vec<Vec<u8>>);

/// Reads all files.
pub fn load(config: &Config) -> Result<(TrustBundles, Contents), TrustFileError> {
    let mut contents = Contents::default();
    let mut bundles = TrustBundles::default();
    for (trust_domain, path) in &config.bundles {
        bundles.trust_domains.insert(trust_domain.clone(), anchors(path, &mut contents)?.into());
    }
    for (name, path) in &config.client_cas {
        bundles.client_cas.insert(name.clone(), anchors(path, &mut contents)?);
    }
    Ok((bundles, contents))
}

fn anchors(path: &Path, contents: &mut Contents) -> Result<Anchors, TrustFileError> {
    let pem = fs::read(path).map_err(|error| TrustFileError::Unreadable { path: path.to_owned(), error })?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|certificates: &Vec<_>| !certificates.is_empty())
        .ok_or_else(|| TrustFileError::NotPem(path.to_owned()))?;
    let anchors =
        Anchors::new(&certificates).map_err(|error| TrustFileError::Anchor { path: path.to_owned(), error })?;
    contents.0.push(pem);
    Ok(anchors)
}
