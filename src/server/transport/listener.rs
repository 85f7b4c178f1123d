//! The accept loops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::server::bounds::ACCEPT_PAUSES;
use crate::server::bounds::HANDSHAKE_PATIENCE;
use crate::server::bounds::ROOM_TIMEOUT;
use crate::server::socket::Accepted;
use crate::server::socket::Socket;
use crate::server::stage::Stage;
use crate::server::supervised;
use crate::server::transport::connection_limit::ConnectionLimit;
use crate::server::transport::door::Door;
use crate::server::transport::door::Incoming;
use crate::server::transport::gate::Gate;
use crate::server::transport::workers::Dispatcher;

/// One listening socket, and how its connections are served.
#[derive(Debug)]
pub(in crate::server) struct Listener {
    socket: Socket,
    door: Arc<Door>,
    connection_limits: Arc<ConnectionLimit>,
    gate: Arc<Gate>,
    accept_errors: Arc<AtomicU64>,
}

impl Listener {
    pub(in crate::server) fn new(
        socket: Socket,
        door: Door,
        connection_limits: Arc<ConnectionLimit>,
        gate: Arc<Gate>,
        accept_errors: Arc<AtomicU64>,
    ) -> Self {
        Self { socket, door: Arc::new(door), connection_limits, gate, accept_errors }
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
        let (first_pause, longest_pause) = ACCEPT_PAUSES;
        let mut pause = first_pause;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => break,
            };
            match accepted {
                Ok(stream) => {
                    pause = first_pause;
                    if self.dispatch(stream, &dispatcher).await.is_none() {
                        return;
                    }
                }
                Err(error) if is_caused_by_peer(&error) => {}
                Err(error) => {
                    self.accept_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, listener = self.connection_limits.listener(), "cannot accept connections");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stages.wait_for(|stage| *stage == Stage::Draining) => break,
                    }
                    pause = (pause * 2).min(longest_pause);
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
        // Whoever is kept waiting by its peer makes room for whoever may get on.
        let make_room = || self.gate.unfinished.make_room(HANDSHAKE_PATIENCE);
        let Some(connection) = self.connection_limits.take(make_room, ROOM_TIMEOUT).await else {
            // Closed at once: a refused peer can try another replica, a waiting one cannot.
            let remote = stream.remote().map(tracing::field::display);
            tracing::warn!(remote, listener, "a connection was refused: the limit is reached");
            return Some(());
        };
        let (door, gate) = (Arc::clone(&self.door), Arc::clone(&self.gate));
        let (place, reserve) = (gate.enter(stream.remote()), self.connection_limits.reserve());
        dispatcher.dispatch(Incoming { stream, door, listener, connection, reserve, place, gate }).await
    }
}

/// Whether the peer caused the error, which does not affect other connections.
fn is_caused_by_peer(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted || error.kind() == io::ErrorKind::ConnectionReset
}
