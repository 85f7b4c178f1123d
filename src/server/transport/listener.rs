//! The accept loops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::server::socket::Accepted;
use crate::server::socket::Socket;
use crate::server::stage::Stage;
use crate::server::supervised;
use crate::server::transport::connection_limit::ConnectionLimit;
use crate::server::transport::door::Door;
use crate::server::transport::door::Incoming;
use crate::server::transport::workers::Dispatcher;

/// How long to wait when the machine has no more file descriptors: a connection must end before another can begin, and
/// asking again at once would keep a core busy.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// One listening socket, and what stands behind it.
#[derive(Debug)]
pub(in crate::server) struct Listener {
    socket: Socket,
    door: Arc<Door>,
    connection_limits: Arc<ConnectionLimit>,
    handshakes: Arc<Semaphore>,
}

impl Listener {
    pub(in crate::server) fn new(
        socket: Socket,
        door: Door,
        connection_limits: Arc<ConnectionLimit>,
        max_handshakes: usize,
    ) -> Self {
        let handshakes = Arc::new(Semaphore::new(max_handshakes.min(Semaphore::MAX_PERMITS)));
        Self { socket, door: Arc::new(door), connection_limits, handshakes }
    }

    /// Runs it for as long as the server takes connections.
    pub(in crate::server) fn start(
        self,
        tasks: &mut JoinSet<()>,
        authority: &Arc<Authority>,
        dispatcher: Dispatcher,
        stages: watch::Receiver<Stage>,
    ) {
        let listener = Arc::new(self);
        let accepting = move || Arc::clone(&listener).run(dispatcher.clone(), stages.clone());
        supervised::spawn(tasks, authority, "listener", accepting);
    }

    /// Accepts until the server drains, and then what has come by that moment.
    async fn run(self: Arc<Self>, dispatcher: Dispatcher, mut stages: watch::Receiver<Stage>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => break,
            };
            match accepted {
                Ok(stream) => {
                    if self.deal(stream, &dispatcher).await.is_none() {
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
            if self.deal(stream, &dispatcher).await.is_none() {
                return;
            }
        }
    }

    /// Hands a connection on, if there is room for it. `None` where nobody takes any more.
    async fn deal(&self, stream: Accepted, dispatcher: &Dispatcher) -> Option<()> {
        let Some(connection) = self.connection_limits.take() else {
            // Closed at once: a peer that is told no can try another replica, one that waits cannot.
            tracing::warn!("a connection was refused: there are too many");
            return Some(());
        };
        let (door, handshakes) = (Arc::clone(&self.door), Arc::clone(&self.handshakes));
        dispatcher.deal(Incoming { stream, door, connection, handshakes }).await
    }
}

/// Whether it was the peer that went away, which says nothing about the next one.
fn is_the_peers(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted || error.kind() == io::ErrorKind::ConnectionReset
}
