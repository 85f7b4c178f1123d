//! How to reach etcd.

use std::time::Duration;

use crate::store::peer::PeerTls;

/// The endpoints, the credentials and the place of the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    /// The client URLs of the members, `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// The prefix of all keys: segments that begin with a slash. Two Lanyards with different prefixes in one etcd do not
    /// see each other, also where one prefix begins with the other.
    pub prefix: String,
    /// Who is who; `None` where the endpoints are `http://` on loopback addresses.
    pub tls: Option<PeerTls>,
    /// The longest time of one request, with its retries. A write is up to three: what is compared, a lease, the writes.
    pub timeout: Duration,
}
