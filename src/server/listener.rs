//! The accept loops.

use std::io;
use std::iter;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::server::Stage;
use crate::server::connection::Door;
use crate::server::connection::Incoming;
use crate::server::lasting;
use crate::server::workers::Dealer;

/// How long to wait when the machine has no more file descriptors: a connection must end before another can begin, and
/// asking again at once would keep a core busy.
const EXHAUSTED: Duration = Duration::from_millis(100);

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
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => socket.accept().await?.0.into_std().map(Accepted::Tcp),
            Self::Unix(socket) => socket.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }

    /// The connections that the system has taken and that nobody has accepted yet: closing the socket would break them off.
    fn waiting(&self) -> Vec<Accepted> {
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

/// The connections that a listener may have, and has.
#[derive(Debug)]
pub(super) struct Places {
    listener: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Places {
    fn new(listener: &'static str, max_connections: usize) -> Self {
        let most = max_connections.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(most));
        Self { listener, most, free, accepted: AtomicU64::default(), refused: AtomicU64::default() }
    }

    /// Those of all listeners, in the order in which they are opened.
    pub(super) fn of_all(forwarded: bool, max_connections: usize) -> Vec<Arc<Self>> {
        let names = ["mtls", "public", "ops"].into_iter().chain(forwarded.then_some("forwarded"));
        names.map(|name| Arc::new(Self::new(name, max_connections))).collect()
    }

    /// A place for a connection, if there is one; it is free again when this is dropped.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        let counted = if place.is_some() { &self.accepted } else { &self.refused };
        counted.fetch_add(1, Ordering::Relaxed);
        place
    }

    /// Which listener's they are.
    pub(super) fn listener(&self) -> &'static str {
        self.listener
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> u64 {
        u64::try_from(self.most.saturating_sub(self.free.available_permits())).unwrap_or(u64::MAX)
    }

    /// How many were taken so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many there was no place for.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One listening socket, and what stands behind it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    door: Arc<Door>,
    places: Arc<Places>,
    handshakes: Arc<Semaphore>,
}

impl Listener {
    pub(super) fn new(socket: Socket, door: Door, places: Arc<Places>, max_handshakes: usize) -> Self {
        let handshakes = Arc::new(Semaphore::new(max_handshakes.min(Semaphore::MAX_PERMITS)));
        Self { socket, door: Arc::new(door), places, handshakes }
    }

    /// Runs it for as long as the server takes connections.
    pub(super) fn start(
        self,
        tasks: &mut JoinSet<()>,
        authority: &Arc<Authority>,
        dealer: Dealer,
        stages: watch::Receiver<Stage>,
    ) {
        let listener = Arc::new(self);
        let accepting = move || Arc::clone(&listener).run(dealer.clone(), stages.clone());
        lasting::spawn(tasks, authority, "listener", accepting);
    }

    /// Accepts until the server drains, and then what has come by that moment.
    async fn run(self: Arc<Self>, dealer: Dealer, mut stages: watch::Receiver<Stage>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => break,
            };
            match accepted {
                Ok(stream) => {
                    if self.deal(stream, &dealer).await.is_none() {
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
        for stream in self.socket.waiting() {
            if self.deal(stream, &dealer).await.is_none() {
                return;
            }
        }
    }

    /// Hands a connection on, if there is room for it. `None` where nobody takes any more.
    async fn deal(&self, stream: Accepted, dealer: &Dealer) -> Option<()> {
        let Some(connection) = self.places.take() else {
            // Closed at once: a peer that is told no can try another replica, one that waits cannot.
            tracing::warn!("a connection was refused: there are too many");
            return Some(());
        };
        let (door, handshakes) = (Arc::clone(&self.door), Arc::clone(&self.handshakes));
        dealer.deal(Incoming { stream, door, connection, handshakes }).await
    }
}

/// Whether it was the peer that went away, which says nothing about the next one.
fn is_the_peers(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted || error.kind() == io::ErrorKind::ConnectionReset
}
