//! Trust anchors, and path validation against them.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::TrustAnchor;
use rustls_pki_types::UnixTime;
use spiffe::SpiffeId;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::trust::unproven::Unproven;

/// The most certificates that a peer may present: the leaf and its intermediates.
const MAX_CHAIN_CERTIFICATES: usize = 10;

/// The largest chain, in bytes of all its certificates together.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// The trust anchors of one trust domain, or of one client CA.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

impl Anchors {
    /// Reads CA certificates in DER. With an empty list no certificate is accepted.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, InvalidAnchor> {
        certificates.iter().map(anchor).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are no anchors, so that no certificate is accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Validates the X509-SVID that a server presents, the leaf first, against these anchors alone, and returns its
    /// SPIFFE ID. The caller checks that this is the server it meant to call.
    pub fn prove_server(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<SpiffeId, Unproven> {
        let (leaf, intermediates) = split(chain)?;
        let certificate = Certificate::parse(leaf)?;
        let id = svid_name(&certificate)?;
        let proven = has_path(&certificate, intermediates, self, now, KeyUsage::server_auth());
        if proven { Ok(id) } else { Err(Unproven::NoPath) }
    }
}

/// Why a certificate cannot be a trust anchor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAnchor {
    /// The certificate cannot be parsed.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// basicConstraints cA is not set, or keyUsage lacks keyCertSign, so it may not sign certificates.
    #[error("not a CA certificate: it lacks basicConstraints CA:TRUE, or keyCertSign in its keyUsage")]
    NotACa,
}

fn anchor(certificate: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, InvalidAnchor> {
    let uses = Certificate::parse(certificate).map_err(|_| InvalidAnchor::NotACertificate)?.uses();
    if !uses.is_ca || (uses.has_key_usage && !uses.key_cert_sign) {
        return Err(InvalidAnchor::NotACa);
    }
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| InvalidAnchor::NotACertificate)?;
    Ok(anchor.to_owned())
}

/// Splits a chain into its leaf and its intermediates.
pub(super) fn split<'a>(
    chain: &'a [CertificateDer<'a>],
) -> Result<(&'a CertificateDer<'a>, &'a [CertificateDer<'a>]), Unproven> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    let too_large = chain.len() > MAX_CHAIN_CERTIFICATES || bytes > MAX_CHAIN_BYTES;
    chain.split_first().filter(|_| !too_large).ok_or(Unproven::ChainSize)
}

/// The SPIFFE ID of a leaf that follows all of X509-SVID's rules for leaves: those that path validation checks, and
/// those that it does not (webpki ignores digitalSignature, cRLSign and the critical flags).
pub(super) fn svid_name(certificate: &Certificate) -> Result<SpiffeId, Unproven> {
    let [uri] = certificate.names().uri.as_slice() else { return Err(Unproven::SeveralUris) };
    let id = parse_spiffe_id(uri).filter(|id| !id.path().is_empty()).ok_or(Unproven::InvalidSpiffeId)?;
    let uses = certificate.uses();
    if uses.is_ca || uses.key_cert_sign || uses.crl_sign {
        return Err(Unproven::SigningCertificate);
    }
    if !uses.has_key_usage || !uses.key_usage_critical || !uses.digital_signature {
        return Err(Unproven::KeyUsage);
    }
    // X509-SVID section 4.4: an extendedKeyUsage has both.
    if uses.has_extended_key_usage && !(uses.client_auth && uses.server_auth) {
        return Err(Unproven::KeyUsage);
    }
    if uses.subject_empty && !uses.names_critical {
        return Err(Unproven::NamesNotCritical);
    }
    Ok(id)
}

/// RFC 5280 section 6 path validation. No certificate is fetched from a URL in another certificate.
pub(super) fn has_path(
    certificate: &Certificate,
    intermediates: &[CertificateDer<'_>],
    anchors: &Anchors,
    now: Timestamp,
    usage: KeyUsage,
) -> bool {
    EndEntityCert::try_from(certificate.der()).is_ok_and(|leaf| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors.0,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(now.0)),
            usage,
            None,
            None,
        )
        .is_ok()
    })
}
