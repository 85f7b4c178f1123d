//! The time limits of a connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::tls;

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Limits {
    pub(super) handshake: Duration,
    pub(super) max_age: Duration,
}

impl From<&tls::Config> for Limits {
    fn from(config: &tls::Config) -> Self {
        Self { handshake: config.handshake_timeout, max_age: config.connection_max_age }
    }
}

impl Limits {
    /// The maximum age, reduced by up to a tenth, so that connections made together do not all reconnect together.
    pub(super) fn max_age_of(self, peer: Option<SocketAddr>) -> Duration {
        let share = peer.map_or(0, |peer| peer.port() % 100);
        self.max_age.saturating_sub(self.max_age / 1000 * u32::from(share))
    }
}
