//! The door: TLS 1.2 and 1.3 on rustls, a client certificate required and proven in the handshake.

pub mod acceptor;
pub mod outbound;
pub mod server_certificate;
mod svid_server;
mod verifier;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Whether clients must show a certificate on the mTLS listener.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Without one the handshake fails.
    #[default]
    Require,
    /// Without one only what is for anyone can be reached (RFC 8705 section 6.1).
    Request,
}

/// A certificate and its key on the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The chain, PEM, the leaf first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's certificate chain and its private key, PEM; `None` where they come from the Workload API.
    pub certificate: Option<CertificateFiles>,
    /// Whether clients must show a certificate.
    pub client_auth: ClientAuth,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may live.
    pub connection_max_age: Duration,
    /// How many connections may be open at a time, on each listener.
    pub max_connections: usize,
    /// How many handshakes may be under way at a time, on each listener.
    pub max_handshakes: usize,
}
