//! Whether etcd answers. While it does not, writes fail at once instead of waiting for their time limit.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::Notify;

use crate::authority::store::StoreError;

/// The state, as the requests find it.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
    went_down: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Why no endpoint answers.
    down: Option<String>,
    /// Why etcd takes no writes, though it answers.
    full: Option<String>,
}

impl Health {
    /// Records an answer.
    pub(super) fn answered(&self) {
        if let Some(cause) = self.state().down.take() {
            tracing::info!(cause, "etcd answers again");
        }
    }

    /// Records a write.
    pub(super) fn written(&self) {
        if let Some(cause) = self.state().full.take() {
            tracing::info!(cause, "etcd has room again");
        }
    }

    /// Records that no endpoint answered.
    pub(super) fn failed(&self, cause: &str) {
        if self.state().down.replace(cause.to_owned()).is_none() {
            tracing::error!(cause, "etcd does not answer: writes fail until it does");
        }
        self.went_down.notify_one();
    }

    /// Records that etcd refused a write for lack of space.
    pub(super) fn is_full(&self, cause: &str) {
        if self.state().full.replace(cause.to_owned()).is_none() {
            tracing::error!(cause, "etcd is out of space: writes fail until there is room");
        }
    }

    /// Whether no endpoint answers.
    pub(super) fn is_down(&self) -> bool {
        self.state().down.is_some()
    }

    /// Completes once no endpoint answers.
    pub(super) async fn down(&self) {
        while !self.is_down() {
            self.went_down.notified().await;
        }
    }

    /// Whether a write may be tried.
    pub(super) fn answers(&self) -> Result<(), StoreError> {
        self.state().down.clone().map_or(Ok(()), |cause| Err(StoreError::Unavailable(cause)))
    }

    /// Whether writes are accepted, as far as is known.
    pub(super) fn accepts_writes(&self) -> Result<(), StoreError> {
        let state = self.state();
        let cause = state.down.clone().or_else(|| state.full.clone());
        cause.map_or(Ok(()), |cause| Err(StoreError::Unavailable(cause)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
