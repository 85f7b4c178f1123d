//! The way out: names into addresses, addresses into connections. Tests put a network of their own in its place.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

/// What is waited for.
pub type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Resolves and connects.
pub trait Network: fmt::Debug + Send + Sync {
    /// All addresses of a host.
    fn resolve(&self, host: &str, port: u16) -> Answer<Vec<SocketAddr>>;

    /// A connection to this very address.
    fn connect(&self, address: SocketAddr) -> Answer<TcpStream>;
}

/// The machine's own. No proxy is ever taken from the environment.
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
