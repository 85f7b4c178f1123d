//! How to reach etcd.

use std::path::PathBuf;
use std::time::Duration;

/// The endpoints, the credentials and the place of the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    /// The client URLs of the members, `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// The prefix of all keys: segments that begin with a slash. Two Lanyards with different prefixes in one etcd do not
    /// see each other, also where one prefix begins with the other.
    pub prefix: String,
    /// The files for TLS; `None` where the endpoints are `http://` on loopback addresses.
    pub tls: Option<EtcdTls>,
    /// The longest time of one request, with its retries. A write is up to three: what is compared, a lease, the writes.
    pub timeout: Duration,
}

/// The files for TLS, PEM. They are read again for each new connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdTls {
    /// The CAs that etcd's certificates must lead to.
    pub ca: PathBuf,
    /// The client certificate with its chain, and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}
