//! The source of the certificate evidence that a check evaluates.

use std::fmt;

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

/// For people: whose certificate it is.
impl fmt::Display for EvidenceFrom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer => formatter.write_str("the certificate of the proxy's peer"),
            Self::Header => formatter.write_str("the certificate of the proxy's peer, by the header alone"),
            Self::Via(gateways) => {
                formatter.write_str("the certificate of the peer of")?;
                gateways.iter().try_for_each(|gateway| write!(formatter, " {gateway}"))
            }
        }
    }
}
