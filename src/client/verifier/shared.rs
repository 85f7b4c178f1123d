//! The copy as one task writes it and all uses read it.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::time::Duration;

use tokio::sync::watch;

use crate::client::verifier::copy::Present;
use crate::client::verifier::follow_error::FollowError;

/// What the background task writes and uses are verified with.
pub(super) struct Shared {
    pub(super) max_age: Duration,
    present: RwLock<Present>,
    problem: watch::Sender<Option<Arc<FollowError>>>,
}

impl Shared {
    pub(super) fn new(max_age: Duration) -> Self {
        Self { max_age, present: RwLock::default(), problem: watch::Sender::new(None) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Present> {
        self.present.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Present> {
        self.present.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.read().age().is_none_or(|age| age > self.max_age)
    }

    pub(super) fn report(&self, problem: Option<FollowError>) {
        self.problem.send_replace(problem.map(Arc::new));
    }

    /// The present problem; it is set again whenever the copy is confirmed.
    pub(super) fn reports(&self) -> watch::Receiver<Option<Arc<FollowError>>> {
        self.problem.subscribe()
    }
}
