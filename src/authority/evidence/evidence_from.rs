//! Whose certificate a check is judged by.

use spiffe::SpiffeId;

/// Whose certificate a use of a token is judged by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EvidenceFrom {
    /// That of the proxy's immediate peer.
    Peer,
    /// That of the peer of a gateway in front of the proxy, which must be one of these.
    Via(Vec<SpiffeId>),
}
