//! A key for a whole chain.

use rustls_pki_types::CertificateDer;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::trust::anchors::split;
use crate::authority::trust::unproven::Unproven;

/// Hashes a chain to a unique key. The bytes after the leaf may not be DER, so the lengths are included to separate the
/// certificates. The error is that the chain is empty or too large.
pub fn chain_fingerprint(chain: &[CertificateDer<'_>]) -> Result<[u8; 32], Unproven> {
    split(chain)?;
    let mut hash = Sha256::new();
    for certificate in chain {
        hash.update(certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    Ok(hash.finalize().into())
}
