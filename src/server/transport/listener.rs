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

/// How long to wait when the process has no more file descriptors. A connection must end before another can be
/// accepted, and retrying at once would keep a core busy.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// One listening socket, and how its connections are served.
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

    /// Runs until the server drains.
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

    /// Accepts until the server drains, and then the connections that are pending at that moment.
    async fn run(self: Arc<Self>, dispatcher: Dispatcher, mut stages: watch::Receiver<Stage>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => break,
            };
            match accepted {
                Ok(stream) => {
                    if self.dispatch(stream, &dispatcher).await.is_none() {
                        return;
                    }
                }
                Err(error) if is_caused_by_peer(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
        for stream in self.socket.waiting() {
            if self.dispatch(stream, &dispatcher).await.is_none() {
                return;
            }
        }
    }

    /// Hands a connection to a serving thread, unless the limit is reached. `None` where no thread accepts connections
    /// any more.
    async fn dispatch(&self, stream: Accepted, dispatcher: &Dispatcher) -> Option<()> {
        let listener = self.connection_limits.listener();
        let Some(connection) = self.connection_limits.take() else {
            // Closed at once: a refused peer can try another replica, a waiting one cannot.
            let remote = stream.remote().map(tracing::field::display);
            tracing::warn!(remote, listener, "a connection was refused: the limit is reached");
            return Some(());
        };
        let (door, handshakes) = (Arc::clone(&self.door), Arc::clone(&self.handshakes));
        dispatcher.dispatch(Incoming { stream, door, listener, connection, handshakes }).await
    }
}

/// Whether the peer caused the error, which does not affect other connections.
fn is_caused_by_peer(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted || error.kind() == io::ErrorKind::ConnectionReset
}
