//! Name resolution and TCP connections as a port, which tests replace.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

/// The future of an operation.
pub type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Resolves and connects.
pub trait Network: fmt::Debug + Send + Sync {
    /// Resolves all addresses of a host.
    fn resolve(&self, host: &str, port: u16) -> Answer<Vec<SocketAddr>>;

    /// Opens a connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> Answer<TcpStream>;
}

/// The machine's resolver and network. No proxy is taken from the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn resolve(&self, host: &str, port: u16) -> Answer<Vec<SocketAddr>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> Answer<TcpStream> {
        Box::pin(TcpStream::connect(address))
    }
}
