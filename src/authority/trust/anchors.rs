//! Trust anchors, and the rules for the certificates that have a path to them.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::trust::path::Anchor;
use crate::authority::trust::path::Chain;
use crate::authority::trust::path::InvalidAnchor;
use crate::authority::trust::path::Purpose;
use crate::authority::trust::unproven::Unproven;

/// The most certificates that a peer may present: the leaf and its intermediates.
pub const MAX_CHAIN_CERTIFICATES: usize = 10;

/// The largest chain, in bytes of all its certificates together.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// The trust anchors of one trust domain, or of one client CA.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    usable: Arc<[Anchor]>,
    refused: Arc<[RefusedAnchor]>,
}

/// A CA certificate that is not used as an anchor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedAnchor {
    /// Its place among the certificates, from 1.
    pub number: usize,
    /// SHA-256 of its DER.
    pub thumbprint: CertificateThumbprint,
    /// Why.
    pub why: InvalidAnchor,
}

impl fmt::Display for RefusedAnchor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, thumbprint, why } = self;
        write!(formatter, "certificate number {number} (thumbprint {thumbprint}) is {why}")
    }
}

impl Anchors {
    /// Reads CA certificates in DER. One that cannot be an anchor is left out and is in [`refused`](Self::refused); the
    /// error is that none can. With an empty list no certificate is accepted.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, InvalidAnchor> {
        let (mut usable, mut refused) = (Vec::new(), Vec::new());
        for (place, certificate) in certificates.iter().enumerate() {
            match Anchor::new(certificate) {
                Ok(anchor) => usable.push(anchor),
                Err(why) => {
                    let thumbprint = CertificateThumbprint::of(certificate);
                    refused.push(RefusedAnchor { number: place + 1, thumbprint, why });
                }
            }
        }
        match refused.first() {
            Some(first) if usable.is_empty() => Err(first.why),
            _ => Ok(Self { usable: usable.into(), refused: refused.into() }),
        }
    }

    /// Whether there are no anchors, so that no certificate is accepted.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// The number of anchors.
    pub fn len(&self) -> usize {
        self.usable.len()
    }

    /// The certificates that are not used, each with its reason.
    pub fn refused(&self) -> &[RefusedAnchor] {
        &self.refused
    }

    pub(super) fn usable(&self) -> &[Anchor] {
        &self.usable
    }

    /// Validates the X509-SVID that a server presents, the leaf first, against these anchors alone, and returns its
    /// SPIFFE ID. The caller checks that this is the server it meant to call.
    pub fn prove_server(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<SpiffeId, Unproven> {
        let (leaf, others) = split(chain)?;
        let certificate = Certificate::parse(leaf)?;
        let id = svid_name(&certificate)?;
        check_validity(&certificate, now)?;
        Chain::parse(leaf, others)?.path_to(&self.usable, Purpose::SvidOfServer, now, None)?;
        Ok(id)
    }
}

/// What is wrong with the certificate of a client by itself, as far as that shows without its path and registration: a
/// command says so about its own certificate after a server has refused it.
pub fn client_fault(leaf: &CertificateDer<'_>, now: Timestamp) -> Option<Unproven> {
    let examine = || {
        let certificate = Certificate::parse(leaf)?;
        check_validity(&certificate, now)?;
        if certificate.names().uri.iter().any(|uri| is_spiffe_uri(uri)) {
            svid_name(&certificate)?;
            return Chain::parse(leaf, &[])?.check_leaf(Purpose::SvidOfClient);
        }
        let chain = Chain::parse(leaf, &[])?;
        // One that is registered itself needs no more than its key.
        if chain.is_self_issued() { Ok(()) } else { chain.check_leaf(Purpose::Client) }
    };
    examine().err()
}

pub(super) fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), Unproven> {
    if now < certificate.not_before() {
        return Err(Unproven::NotYetValid);
    }
    if now > certificate.not_after() {
        return Err(Unproven::Expired);
    }
    Ok(())
}

/// Splits a chain into its leaf and its intermediates.
pub(super) fn split<'a>(
    chain: &'a [CertificateDer<'a>],
) -> Result<(&'a CertificateDer<'a>, &'a [CertificateDer<'a>]), Unproven> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    let too_large = chain.len() > MAX_CHAIN_CERTIFICATES || bytes > MAX_CHAIN_BYTES;
    chain.split_first().filter(|_| !too_large).ok_or(Unproven::ChainSize)
}

/// The SPIFFE ID of a leaf that follows X509-SVID's rules for leaves.
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
        return Err(Unproven::ExtendedKeyUsage);
    }
    if uses.subject_empty && !uses.names_critical {
        return Err(Unproven::NamesNotCritical);
    }
    Ok(id)
}
