//! The readiness that probes report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::store::Store;
use crate::server::stage::Stage;
use crate::server::trust::WorkloadIdentity;
use crate::tls::server_certificate::ServerCertificate;

/// How often the state is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ready while the store accepts writes and is followed, the server's own certificate and bundle are valid, and the
/// server does not drain.
#[derive(Debug)]
pub(super) struct Probes {
    authority: Arc<Authority>,
    store: Arc<dyn Store>,
    /// The certificate that the server presents.
    certificate: Arc<ServerCertificate>,
    /// `None` where no Workload API is configured.
    identity: Option<Arc<WorkloadIdentity>>,
    readiness: watch::Sender<Result<(), &'static str>>,
    ready: watch::Sender<bool>,
    stages: watch::Receiver<Stage>,
}

impl Probes {
    /// Returns the probes, and two receivers: the readiness with a code if the server is not ready, and the readiness
    /// alone. At first both report that the server is starting.
    pub(super) fn new(
        authority: &Arc<Authority>,
        store: &Arc<dyn Store>,
        certificate: &Arc<ServerCertificate>,
        identity: Option<Arc<WorkloadIdentity>>,
        stages: watch::Receiver<Stage>,
    ) -> (Self, watch::Receiver<Result<(), &'static str>>, watch::Receiver<bool>) {
        let (readiness, readiness_receiver) = watch::channel(Err("starting"));
        let (ready, is_ready) = watch::channel(false);
        let (authority, store, certificate) = (Arc::clone(authority), Arc::clone(store), Arc::clone(certificate));
        (Self { authority, store, certificate, identity, readiness, ready, stages }, readiness_receiver, is_ready)
    }

    /// Updates both once.
    pub(super) fn update(&self) {
        let now = self.check();
        // In this order: a reader of the readiness can rely on gRPC health having been updated.
        self.ready.send_if_modified(|known| std::mem::replace(known, now.is_ok()) != now.is_ok());
        self.readiness.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn check(&self) -> Result<(), &'static str> {
        if *self.stages.borrow() != Stage::Serving {
            return Err("draining");
        }
        self.store.health().map_err(|_| "store_unavailable")?;
        // A stale snapshot makes every decision fail.
        self.authority.freshness().map_err(|_| "store_stale")?;
        self.identity.as_ref().map_or(Ok(()), |identity| identity.readiness())?;
        self.certificate.readiness(self.authority.clock().now())
    }

    /// Updates both until the server ends.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stages = self.stages.clone();
        loop {
            stages.mark_unchanged();
            self.update();
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                changed = stages.changed() => if changed.is_err() { return },
            }
        }
    }
}
