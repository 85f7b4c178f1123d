//! The settings of the limits.

use std::time::Duration;

use crate::limits::callers::Callers;

/// Of what there is for all, one part in so many is kept for proxies and admins, and for each priority.
pub(super) const KEPT: u8 = 10;

/// The settings of the limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long requests may wait for their thread, all the time, before the less urgent ones are refused.
    pub queue_delay: Duration,
    /// After how long without a request a connection may be closed for another one.
    pub idle_after: Duration,
    /// The bytes that are buffered for all callers together.
    pub buffered_bytes: usize,
    /// The share of each caller.
    pub callers: Callers,
}
