//! How to reach etcd.

use std::path::PathBuf;
use std::time::Duration;

use spiffe::SpiffeId;

/// The endpoints, the credentials and the place of the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    /// The client URLs of the members, `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// The prefix of all keys: segments that begin with a slash. Two Lanyards with different prefixes in one etcd do not
    /// see each other, also where one prefix begins with the other.
    pub prefix: String,
    /// Who is who; `None` where the endpoints are `http://` on loopback addresses.
    pub tls: Option<EtcdTls>,
    /// The longest time of one request, with its retries. A write is up to three: what is compared, a lease, the writes.
    pub timeout: Duration,
}

/// Who etcd is, and what it is shown. Both are taken anew for each new connection. Files are PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdTls {
    /// What etcd's certificates must be.
    pub server: EtcdServer,
    /// The client certificate.
    pub client: EtcdClient,
}

/// What etcd's certificates must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EtcdServer {
    /// They lead to a CA in this file, and have the endpoint's host.
    Ca(PathBuf),
    /// They are X509-SVIDs with this ID, proven by the bundle that the Workload API has of its trust domain.
    Svid(SpiffeId),
}

/// What is presented to etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EtcdClient {
    /// No certificate.
    Nothing,
    /// The certificate with its chain in the first file, and its private key in the second.
    Files(PathBuf, PathBuf),
    /// This server's X509-SVID, as the Workload API delivers it.
    WorkloadApi,
}

impl EtcdTls {
    /// Whether the Workload API is needed for connections.
    pub fn needs_workload_api(&self) -> bool {
        self.client == EtcdClient::WorkloadApi || matches!(self.server, EtcdServer::Svid(_))
    }
}
