//! Who is on the other end of a connection, once that is proven.

use std::fmt;

use spiffe::SpiffeId;

use crate::authority::identity::certificate::Certificate;
use crate::authority::identity::certificate::CertificateThumbprint;

/// A peer whose certificate was proven by one of three rules, and whose possession of the key the handshake proved. Where
/// the configuration says so, also one that is yet to be proven: see [`Proof::Unknown`].
///
/// There is no peer without an identity: where none was proven, there is no value of this type.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    certificate: Certificate,
    proof: Proof,
}

/// The rule that proved a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// An X509-SVID with a path to the bundle of its own trust domain.
    Svid(SpiffeId),
    /// A certificate with a path to these of the configured client CAs, by their configured names.
    Pki(Vec<String>),
    /// A certificate that is registered, or has a role, as it is. Its names prove nothing.
    SelfSigned,
    /// Nothing but possession of its key was proven: the certificate may be one that a client has published since its
    /// document was last fetched. Such a peer holds no role, and asks for a token or for nothing.
    Unknown,
}

impl PeerIdentity {
    /// Only what proves certificates makes these.
    pub(in crate::authority) fn proven(certificate: Certificate, proof: Proof) -> Self {
        Self { certificate, proof }
    }

    /// The certificate, the first one presented. What came after it proves nothing about names.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The thumbprint of the certificate: what a token is bound to.
    pub fn thumbprint(&self) -> CertificateThumbprint {
        self.certificate.thumbprint()
    }

    /// How the peer was proven.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The peer's SPIFFE ID, if it is an SVID that proved it.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match &self.proof {
            Proof::Svid(id) => Some(id),
            Proof::Pki(_) | Proof::SelfSigned | Proof::Unknown => None,
        }
    }
}

/// What records and logs call the peer: its SPIFFE ID, or its thumbprint.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Svid(id) => fmt::Display::fmt(id, formatter),
            Proof::Pki(_) | Proof::SelfSigned | Proof::Unknown => write!(formatter, "x5t#S256:{}", self.thumbprint()),
        }
    }
}
