//! The identity of the peer of a connection, once it is proven.

use std::fmt;

use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::identity::certificate::Certificate;
use crate::authority::identity::certificate::CertificateThumbprint;

/// A peer with a certificate that one of three rules accepted and that the handshake proved possession of the key for.
/// Where the configuration allows it, also a peer that is not proven yet: see [`Proof::Unknown`].
///
/// A peer without an identity has no value of this type.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    certificate: Certificate,
    proof: Proof,
    issuers_until: Option<Timestamp>,
}

/// The rule that accepted a peer's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// An X509-SVID with a path to the bundle of its own trust domain.
    Svid(SpiffeId),
    /// A certificate with a path to these of the configured client CAs, by their configured names.
    Pki(Vec<String>),
    /// A certificate that is registered, or has a role, by its thumbprint. Its names prove nothing.
    SelfSigned,
    /// Only possession of the key is proven. A client may have published the certificate after its JWK Set was last
    /// fetched. Such a peer has no role and can only request a token.
    Unknown,
}

impl PeerIdentity {
    /// Only the code that validates certificates creates peers.
    /// `issuers_until` is the end of the shortest validity among the issuers in its path, and `None` without a path.
    pub(in crate::authority) fn proven(
        certificate: Certificate,
        proof: Proof,
        issuers_until: Option<Timestamp>,
    ) -> Self {
        Self { certificate, proof, issuers_until }
    }

    /// The holder of a SPIFFE ID, as if it had proven a certificate; see [`Certificate::supposed`].
    pub(in crate::authority) fn supposed(id: &SpiffeId) -> Self {
        Self::proven(Certificate::supposed(&id.to_string(), None), Proof::Svid(id.clone()), None)
    }

    /// Until when the path that proved the certificate is valid; the leaf's own validity is not in it.
    pub(in crate::authority) fn issuers_until(&self) -> Option<Timestamp> {
        self.issuers_until
    }

    /// The leaf certificate. The certificates after it prove nothing about names.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The thumbprint of the certificate, which tokens are bound to.
    pub fn thumbprint(&self) -> CertificateThumbprint {
        self.certificate.thumbprint()
    }

    /// The rule that accepted the certificate.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The peer's SPIFFE ID; `None` unless it presented an SVID.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match &self.proof {
            Proof::Svid(id) => Some(id),
            Proof::Pki(_) | Proof::SelfSigned | Proof::Unknown => None,
        }
    }
}

/// The name of the peer in records and logs: its SPIFFE ID, or else its thumbprint.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Svid(id) => fmt::Display::fmt(id, formatter),
            Proof::Pki(_) | Proof::SelfSigned | Proof::Unknown => write!(formatter, "x5t#S256:{}", self.thumbprint()),
        }
    }
}
