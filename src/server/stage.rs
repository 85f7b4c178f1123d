//! How far the server's life has come.

/// How far the server's life has come; connections follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Serving,
    /// Serving, but no longer ready.
    Leaving,
    /// No new connections; open ones finish what is under way.
    Draining,
}
