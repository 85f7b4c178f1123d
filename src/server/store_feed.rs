//! Follows the store: applies its changes to the core, deletes records that no longer have an effect, and rotates the
//! signing keys.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use crate::authority::Authority;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::server::supervised;

/// How long to wait before the store is read again after its watch ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often expired revocations and lineages are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// How often it is looked whether something is due about the signing keys.
const KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// Follows the store from the loaded revision for as long as the server runs.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, store: &Arc<dyn Store>, loaded: Revision) {
    let (store, core, loaded) = (Arc::clone(store), Arc::clone(authority), Arc::new(Mutex::new(Some(loaded))));
    let feed = move || changes(Arc::clone(&store), Arc::clone(&core), Arc::clone(&loaded));
    supervised::spawn(tasks, authority, "follower", feed);
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "sweeper", move || sweep(Arc::clone(&core)));
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "keys", move || tend_keys(Arc::clone(&core)));
}

/// Applies every change to the authority, starting at the loaded revision. When the watch ends, or where no loaded
/// revision is known, all registrations are read again.
async fn changes(store: Arc<dyn Store>, authority: Arc<Authority>, loaded: Arc<Mutex<Option<Revision>>>) {
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner).take();
    loop {
        let from = match loaded.take() {
            Some(revision) => revision,
            None => load_again(&authority).await,
        };
        let mut watch = store.watch("", from);
        while let Some(batch) = watch.next().await {
            match batch {
                Ok(batch) => authority.apply(&batch),
                Err(error) => {
                    tracing::warn!(%error, "the watch of the store ended");
                    break;
                }
            }
        }
    }
}

async fn load_again(authority: &Authority) -> Revision {
    authority.mark_disconnected();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match authority.load().await {
            Ok(revision) => {
                authority.mark_synced();
                return revision;
            }
            Err(error) => tracing::error!(%error, "the registrations could not be read again"),
        }
    }
}

/// Deletes expired revocations and lineages, so that the store does not grow with every revoked token.
async fn sweep(authority: Arc<Authority>) {
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

/// Rotates the signing keys, and deletes those whose tokens have expired.
async fn tend_keys(authority: Arc<Authority>) {
    loop {
        if let Err(error) = authority.tend_signing_keys().await {
            tracing::warn!(%error, "what is due about the signing keys could not be done");
        }
        tokio::time::sleep(KEYS_INTERVAL).await;
    }
}
