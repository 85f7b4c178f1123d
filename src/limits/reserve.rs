//! The connections of a listener that are not kept for proxies and admins.

use crate::limits::config::KEPT;
use crate::limits::level::Counted;

/// The places of a listener that are not reserved. A tenth of all is, for proxies and admins, whose own shares count all the
/// same.
#[derive(Debug)]
pub struct Reserve {
    most_ordinary: usize,
    ordinary: Counted,
}

impl Reserve {
    /// The places of a listener for so many connections.
    pub fn new(most: usize) -> Self {
        // Of fewer than ten none can be spared.
        let kept = if most < KEPT.into() { 0 } else { most.div_ceil(KEPT.into()) };
        Self { most_ordinary: most.saturating_sub(kept), ordinary: Counted::default() }
    }

    pub(super) fn take(&self) -> bool {
        self.ordinary.take(1, self.most_ordinary)
    }

    pub(super) fn release(&self) {
        self.ordinary.release(1);
    }
}
