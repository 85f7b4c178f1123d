//! How to reach the servers that an edge follows.

use crate::store::peer::PeerTls;

/// The endpoints and the credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamConfig {
    /// The mTLS listeners of the servers, `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// Who is who; `None` where the endpoints are `http://` on loopback addresses.
    pub tls: Option<PeerTls>,
}
