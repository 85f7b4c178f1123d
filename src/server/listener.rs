//! The accept loops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::server::Stage;
use crate::server::connection::Door;
use crate::server::connection::Incoming;
use crate::server::workers::Dealer;

/// How long to wait when the machine has no more file descriptors: a connection must end before another can begin, and
/// asking again at once would keep a core busy.
const EXHAUSTED: Duration = Duration::from_millis(100);

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
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => socket.accept().await?.0.into_std().map(Accepted::Tcp),
            Self::Unix(socket) => socket.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }
}

/// One listening socket, and what stands behind it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    door: Arc<Door>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl Listener {
    pub(super) fn new(socket: Socket, door: Door, max_connections: usize, max_handshakes: usize) -> Self {
        let limit = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { socket, door: Arc::new(door), connections: limit(max_connections), handshakes: limit(max_handshakes) }
    }

    /// Accepts until the server drains.
    pub(super) async fn run(self, dealer: Dealer, mut stages: watch::Receiver<Stage>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => return,
            };
            match accepted {
                Ok(stream) => {
                    let Ok(connection) = Arc::clone(&self.connections).try_acquire_owned() else {
                        // Closed at once: a peer that is told no can try another replica, one that waits cannot.
                        tracing::warn!("a connection was refused: there are too many");
                        continue;
                    };
                    let (door, handshakes) = (Arc::clone(&self.door), Arc::clone(&self.handshakes));
                    if dealer.deal(Incoming { stream, door, connection, handshakes }).await.is_none() {
                        return;
                    }
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }
}

/// Whether it was the peer that went away, which says nothing about the next one.
fn is_the_peers(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted || error.kind() == io::ErrorKind::ConnectionReset
}
