//! Since when the store has not been followed.

use std::sync::atomic::AtomicU64;

/// The store has not been followed for longer than the configuration allows. Nothing can be decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Stale;

impl Stale {
    /// The fixed sentence that the one who asks gets.
    pub fn sentence(self) -> &'static str {
        "the store has not been followed for too long to decide"
    }
}

/// Since when the store is not followed any more; while it is, [`FOLLOWED`].
#[derive(Debug)]
pub(in crate::authority) struct LostSince(pub(in crate::authority) AtomicU64);

pub(in crate::authority) const FOLLOWED: u64 = u64::MAX;

impl Default for LostSince {
    fn default() -> Self {
        Self(AtomicU64::new(FOLLOWED))
    }
}
