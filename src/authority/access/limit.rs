//! What a caller can exceed, and how it is told to wait.

use std::time::Duration;

/// How long a refused caller is asked to wait where nothing more is known.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A limit of a caller's share.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Limit {
    /// Open connections.
    Connections,
    /// Requests under way: begun, and their answers not yet sent.
    Requests,
    /// Requests, and messages of streams, for each second.
    RequestsPerSecond,
    /// Bytes of requests that are not complete or not yet handled.
    BufferedBytes,
}

impl Limit {
    /// The name of the limit, as in the configuration and the metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A limit that a caller has reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exceeded {
    /// The limit.
    pub limit: Limit,
    /// When a request may succeed again, if the caller sends nothing else.
    pub retry_after: Duration,
}

impl From<Limit> for Exceeded {
    fn from(limit: Limit) -> Self {
        Self { limit, retry_after: RETRY_AFTER }
    }
}
