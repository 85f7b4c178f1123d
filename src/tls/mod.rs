//! The door: TLS 1.2 and 1.3 on rustls, a client certificate required and proven in the handshake.

pub mod acceptor;
pub mod server_certificate;
mod verifier;

use std::path::PathBuf;
use std::time::Duration;

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's certificate chain, PEM, the leaf first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may live.
    pub connection_max_age: Duration,
    /// How many connections may be open at a time, on each listener.
    pub max_connections: usize,
    /// How many handshakes may be under way at a time, on each listener.
    pub max_handshakes: usize,
}
