//! The source of the certificate evidence that a check evaluates.

use spiffe::SpiffeId;

/// The peer whose certificate a use of a token is checked against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EvidenceFrom {
    /// The proxy's immediate peer, which the proxy reports besides the header.
    Peer,
    /// The same peer, of which only the header may say anything. The proxy guarantees that no client writes it.
    Header,
    /// The peer of a gateway in front of the proxy. The gateway must be one of these.
    Via(Vec<SpiffeId>),
}
