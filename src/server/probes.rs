//! What the probes say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::store::Store;
use crate::server::stage::Stage;
use crate::server::trust::WorkloadIdentity;
use crate::tls::server_certificate::ServerCertificate;

/// How often they look.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ready while the store takes writes and is followed, our own certificate and bundle stand, and the
/// server does not drain.
#[derive(Debug)]
pub(super) struct Probes {
    authority: Arc<Authority>,
    store: Arc<dyn Store>,
    /// What the door presents.
    certificate: Arc<ServerCertificate>,
    /// Not there where no Workload API is asked.
    identity: Option<Arc<WorkloadIdentity>>,
    readiness: watch::Sender<Result<(), &'static str>>,
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
        let (readiness, stands) = watch::channel(Err("starting"));
        let (ready, is_ready) = watch::channel(false);
        let (authority, store, certificate) = (Arc::clone(authority), Arc::clone(store), Arc::clone(certificate));
        (Self { authority, store, certificate, identity, readiness, ready, stages }, stands, is_ready)
    }

    /// Makes them true once.
    pub(super) fn look(&self) {
        let now = self.stands();
        // In this order: whoever sees the readiness may count on it that health has been told.
        self.ready.send_if_modified(|known| std::mem::replace(known, now.is_ok()) != now.is_ok());
        self.readiness.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn stands(&self) -> Result<(), &'static str> {
        if *self.stages.borrow() != Stage::Serving {
            return Err("draining");
        }
        self.store.health().map_err(|_| "store_unavailable")?;
        // From here on every decision would be refused.
        self.authority.freshness().map_err(|_| "store_stale")?;
        self.identity.as_ref().map_or(Ok(()), |identity| identity.readiness())?;
        self.certificate.readiness(self.authority.clock().now())
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
