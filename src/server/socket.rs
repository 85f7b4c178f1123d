//! What is listened on, and what comes from there.

use std::io;
use std::iter;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use tokio::net::TcpListener;
use tokio::net::UnixListener;

/// How many connections may wait in the system for a listener that closes; more than that are not waited on.
const BACKLOG: usize = 1024;

/// What is listened on.
#[derive(Debug)]
pub(super) enum Socket {
    /// An address.
    Tcp(TcpListener),
    /// A file.
    Unix(UnixListener),
}

/// What comes from there, for whichever thread takes it up.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Over the network.
    Tcp(std::net::TcpStream),
    /// From this machine.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    pub(in crate::server) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => socket.accept().await?.0.into_std().map(Accepted::Tcp),
            Self::Unix(socket) => socket.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }

    /// The connections that the system has taken and that nobody has accepted yet: closing the socket would break them off.
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

/// Accepts until there is nothing more. The system itself is asked, of which the runtime hears later. The socket does not
/// block: it is the runtime's, by another descriptor.
fn all_of<L>(socket: &impl AsFd, from: fn(OwnedFd) -> L, accept: fn(&L) -> io::Result<Accepted>) -> Vec<Accepted> {
    let Ok(socket) = socket.as_fd().try_clone_to_owned().map(from) else { return Vec::new() };
    let accepted = iter::repeat_with(|| accept(&socket)).take(BACKLOG);
    // One that has gone while it waited says nothing about those behind it.
    let there = accepted.take_while(|one| !matches!(one, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    there.flatten().collect()
}
