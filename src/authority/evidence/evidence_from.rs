//! The source of the certificate evidence that a check evaluates.

use spiffe::SpiffeId;

/// The peer whose certificate a use of a token is checked against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EvidenceFrom {
    /// The proxy's immediate peer.
    Peer,
    /// The peer of a gateway in front of the proxy. The gateway must be one of these.
    Via(Vec<SpiffeId>),
}
