//! Follows the store: its changes into the directory, its standing into the probes.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use crate::authority::Authority;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::server::Stage;
use crate::server::lasting;
use crate::server::workload_identity::WorkloadIdentity;
use crate::tls::server_certificate::ServerCertificate;

/// How often the store is asked whether it stands, and how soon its changes are asked for again when they broke off.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often revocations that revoke nothing any more are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Follows the store, which was loaded up to this revision, for as long as the server runs.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, store: &Arc<dyn Store>, loaded: Revision) {
    let (store, core, loaded) = (Arc::clone(store), Arc::clone(authority), Arc::new(Mutex::new(Some(loaded))));
    let following = move || changes(Arc::clone(&store), Arc::clone(&core), Arc::clone(&loaded));
    lasting::spawn(tasks, authority, "follower", following);
    let core = Arc::clone(authority);
    lasting::spawn(tasks, authority, "sweeper", move || sweep(Arc::clone(&core)));
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
    }
}

async fn load_again(authority: &Authority) -> Revision {
    authority.lost_the_store();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match authority.load().await {
            Ok(revision) => {
                authority.follows_the_store();
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

/// What the probes say: ready while the store takes writes and is followed, our own certificate and bundle stand, and the
/// server does not drain.
#[derive(Debug)]
pub(super) struct Probes {
    authority: Arc<Authority>,
    store: Arc<dyn Store>,
    /// What the door presents.
    certificate: Arc<ServerCertificate>,
    /// Not there where no Workload API is asked.
    identity: Option<Arc<WorkloadIdentity>>,
    standing: watch::Sender<Result<(), &'static str>>,
    ready: watch::Sender<bool>,
    stages: watch::Receiver<Stage>,
}

impl Probes {
    /// Probes, and what they say: whether the server is ready, with a code if it is not, and without. At first it is starting.
    pub(super) fn new(
        authority: &Arc<Authority>,
        store: &Arc<dyn Store>,
        certificate: &Arc<ServerCertificate>,
        identity: Option<Arc<WorkloadIdentity>>,
        stages: watch::Receiver<Stage>,
    ) -> (Self, watch::Receiver<Result<(), &'static str>>, watch::Receiver<bool>) {
        let (standing, stands) = watch::channel(Err("starting"));
        let (ready, is_ready) = watch::channel(false);
        let (authority, store, certificate) = (Arc::clone(authority), Arc::clone(store), Arc::clone(certificate));
        (Self { authority, store, certificate, identity, standing, ready, stages }, stands, is_ready)
    }

    /// Makes them true once.
    pub(super) fn look(&self) {
        let now = self.stands();
        // In this order: whoever sees the standing may count on it that health has been told.
        self.ready.send_if_modified(|known| std::mem::replace(known, now.is_ok()) != now.is_ok());
        self.standing.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn stands(&self) -> Result<(), &'static str> {
        if *self.stages.borrow() != Stage::Serving {
            return Err("draining");
        }
        self.store.standing().map_err(|_| "store_unavailable")?;
        // From here on every decision would be refused.
        self.authority.freshness().map_err(|_| "store_stale")?;
        self.identity.as_ref().map_or(Ok(()), |identity| identity.standing())?;
        self.certificate.standing(self.authority.clock().now())
    }

    /// Keeps them true.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stages = self.stages.clone();
        loop {
            stages.mark_unchanged();
            self.look();
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                changed = stages.changed() => if changed.is_err() { return },
            }
        }
    }
}
