//! The stages of a server's shutdown.

/// The stage of the server. Connections follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Serving,
    /// Serving, but no longer ready.
    Leaving,
    /// No new connections are accepted; open ones finish what is under way.
    Draining,
}
