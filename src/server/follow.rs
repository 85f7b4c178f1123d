//! Follows the store: its changes into the directory, its standing into the probes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use crate::authority::Authority;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::server::Stage;
use crate::server::workload_identity::WorkloadIdentity;

/// How often the store is asked whether it stands, and how soon its changes are asked for again when they broke off.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often revocations that revoke nothing any more are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Feeds every change into the authority. When the stream breaks off, the registrations are read again whole.
pub(super) async fn changes(store: Arc<dyn Store>, authority: Arc<Authority>, loaded: Revision) {
    let mut from = loaded;
    loop {
        let mut changes = store.watch(from);
        while let Some(change) = changes.next().await {
            match change {
                Ok(change) => authority.apply(&change),
                Err(error) => {
                    tracing::warn!(%error, "the store's changes broke off");
                    break;
                }
            }
        }
        authority.lost_the_store();
        from = loop {
            tokio::time::sleep(INTERVAL).await;
            match authority.load().await {
                Ok(revision) => break revision,
                Err(error) => tracing::error!(%error, "the registrations cannot be read again"),
            }
        };
        authority.follows_the_store();
    }
}

/// Deletes revocations once they revoke nothing any more, so that the store does not grow with every token revoked.
pub(super) async fn sweep(authority: Arc<Authority>) {
    loop {
        if let Err(error) = authority.sweep_revocations().await {
            tracing::warn!(%error, "expired revocations could not be deleted");
        }
        if let Err(error) = authority.sweep_lineages().await {
            tracing::warn!(%error, "successions of certificates that have ended could not be deleted");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// What the probes say: ready while the store takes writes, our own identity stands and the server does not drain.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) store: Arc<dyn Store>,
    /// Not there where no Workload API is asked.
    pub(super) identity: Option<Arc<WorkloadIdentity>>,
    pub(super) standing: watch::Sender<Result<(), &'static str>>,
    pub(super) ready: watch::Sender<bool>,
    pub(super) stages: watch::Receiver<Stage>,
}

impl Probes {
    /// Makes them true once.
    pub(super) fn look(&mut self) {
        let draining = *self.stages.borrow_and_update() != Stage::Serving;
        let now = match self.store.standing() {
            _ if draining => Err("draining"),
            Ok(()) => self.identity.as_ref().map_or(Ok(()), |identity| identity.standing()),
            Err(_) => Err("store_unavailable"),
        };
        // In this order: whoever sees the standing may count on it that health has been told.
        self.ready.send_if_modified(|known| std::mem::replace(known, now.is_ok()) != now.is_ok());
        self.standing.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    /// Keeps them true.
    pub(super) async fn run(mut self) {
        loop {
            self.look();
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                changed = self.stages.changed() => if changed.is_err() { return },
            }
        }
    }
}
