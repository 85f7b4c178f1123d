//! TLS 1.2 and 1.3 on rustls. Client certificates are verified in the handshake.

pub mod acceptor;
pub mod outbound;
pub mod possession;
pub mod server_certificate;
mod svid_server;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

/// Whether clients must present a certificate on the mTLS listener.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// The handshake fails without a client certificate.
    #[default]
    Require,
    /// A client without a certificate is accepted. It reaches only what needs no client certificate (RFC 8705 section
    /// 6.1).
    Request,
}

/// The files of a certificate and its private key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The configuration of the TLS listeners.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's certificate chain and its private key, PEM; `None` where they come from the Workload API.
    pub certificate: Option<CertificateFiles>,
    /// Whether clients must present a certificate.
    pub client_auth: ClientAuth,
    /// The maximum duration of a handshake.
    pub handshake_timeout: Duration,
    /// The maximum age of a connection.
    pub connection_max_age: Duration,
    /// The maximum number of open connections on each listener.
    pub max_connections: usize,
    /// The maximum number of concurrent handshakes on each listener.
    pub max_handshakes: usize,
    /// The maximum number of connections on each listener that have not begun their handshake.
    pub max_unfinished: usize,
    /// The networks of the load balancers that begin each connection with a header of the PROXY protocol.
    pub proxies: Arc<[IpNet]>,
}
