//! Who the servers are that a store is at, and what they are shown.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use spiffe::SpiffeId;

/// Makes the TLS configuration for the next connection, from the certificates as they are then.
pub type TlsSource = Arc<dyn Fn() -> Result<Arc<ClientConfig>, String> + Send + Sync>;

/// Who the servers are, and what they are shown. Both are taken anew for each new connection. Files are PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerTls {
    /// What their certificates must be.
    pub server: ExpectedPeer,
    /// The client certificate.
    pub client: OwnCertificate,
}

/// What the servers' certificates must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExpectedPeer {
    /// They lead to a CA in this file, and have the endpoint's host.
    Ca(PathBuf),
    /// They are X509-SVIDs with this ID, proven by the bundle that the Workload API has of its trust domain.
    Svid(SpiffeId),
}

/// What is presented to the servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnCertificate {
    /// No certificate.
    Nothing,
    /// The certificate with its chain in the first file, and its private key in the second.
    Files(PathBuf, PathBuf),
    /// This server's X509-SVID, as the Workload API delivers it.
    WorkloadApi,
}

impl PeerTls {
    /// Whether the Workload API is needed for connections.
    pub fn needs_workload_api(&self) -> bool {
        self.client == OwnCertificate::WorkloadApi || matches!(self.server, ExpectedPeer::Svid(_))
    }
}
