//! The stages of a server's shutdown.

use tokio::sync::watch;

/// The stage of the server. Connections follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Serving,
    /// Serving, but no longer ready.
    Leaving,
    /// No new connections are accepted; open ones finish what is under way.
    Draining,
}

/// Works until it is done, or until the server drains.
pub(super) async fn until_draining(work: impl Future<Output = ()>, mut stages: watch::Receiver<Stage>) {
    tokio::select! {
        () = work => {}
        _ = stages.wait_for(|stage| *stage == Stage::Draining) => {}
    }
}
