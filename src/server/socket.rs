//! Listening sockets, and the connections that they accept.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use tokio::net::TcpListener;
use tokio::net::UnixListener;

/// The most pending connections that a closing listener still accepts.
const BACKLOG: usize = 1024;

/// A listening socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix domain socket.
    Unix(UnixListener),
}

/// An accepted connection, not yet bound to a runtime, so that any thread can serve it.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A TCP connection.
    Tcp(std::net::TcpStream),
    /// A connection over a Unix domain socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// The address of the peer; `None` over a Unix domain socket.
    pub(in crate::server) fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl Socket {
    pub(in crate::server) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => socket.accept().await?.0.into_std().map(Accepted::Tcp),
            Self::Unix(socket) => socket.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }

    /// The connections that the system has established and that are not accepted yet: closing the socket would reset
    /// them.
    pub(in crate::server) fn waiting(&self) -> Vec<Accepted> {
        match self {
            Self::Tcp(socket) => all_of(socket, std::net::TcpListener::from, |socket| {
                let stream = socket.accept()?.0;
                stream.set_nonblocking(true).map(|()| Accepted::Tcp(stream))
            }),
            Self::Unix(socket) => all_of(socket, std::os::unix::net::UnixListener::from, |socket| {
                let stream = socket.accept()?.0;
                stream.set_nonblocking(true).map(|()| Accepted::Unix(stream))
            }),
        }
    }
}

/// Accepts until no connection is pending. This asks the system directly, because the runtime learns of new connections
/// later. The descriptor is a duplicate of the runtime's and does not block.
fn all_of<L>(socket: &impl AsFd, from: fn(OwnedFd) -> L, accept: fn(&L) -> io::Result<Accepted>) -> Vec<Accepted> {
    let Ok(socket) = socket.as_fd().try_clone_to_owned().map(from) else { return Vec::new() };
    let accepted = iter::repeat_with(|| accept(&socket)).take(BACKLOG);
    // A peer that disconnected while it waited does not affect the connections behind it.
    let there = accepted.take_while(|one| !matches!(one, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    there.flatten().collect()
}
