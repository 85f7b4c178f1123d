//! Follows the store: its changes into the core, and what has become pointless out of it.

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

/// How soon the changes of the store are asked for again when they broke off.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often revocations that revoke nothing any more are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Follows the store, which was loaded up to this revision, for as long as the server runs.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, store: &Arc<dyn Store>, loaded: Revision) {
    let (store, core, loaded) = (Arc::clone(store), Arc::clone(authority), Arc::new(Mutex::new(Some(loaded))));
    let following = move || changes(Arc::clone(&store), Arc::clone(&core), Arc::clone(&loaded));
    supervised::spawn(tasks, authority, "follower", following);
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "sweeper", move || sweep(Arc::clone(&core)));
}

/// Feeds every change into the authority, from the revision that was loaded. When the stream breaks off, or where nothing
/// says what was loaded, the registrations are read again whole.
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
                    tracing::warn!(%error, "the store's changes broke off");
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
            Err(error) => tracing::error!(%error, "the registrations cannot be read again"),
        }
    }
}

/// Deletes revocations once they revoke nothing any more, so that the store does not grow with every token revoked.
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
