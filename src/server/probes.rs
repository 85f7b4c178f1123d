//! The readiness that probes report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::state::Decidable;
use crate::authority::state::Undecidable;
use crate::authority::store::Store;
use crate::server::stage::Stage;
use crate::server::trust::WorkloadIdentity;
use crate::tls::server_certificate::ServerCertificate;

/// How often the state is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ready while the store, if it is this server's own, accepts writes and is followed, the server's own certificate and bundle are valid, and the
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
    degraded: watch::Sender<Option<&'static str>>,
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
        let degraded = watch::Sender::new(None);
        let probes = Self { authority, store, certificate, identity, readiness, ready, degraded, stages };
        (probes, readiness_receiver, is_ready)
    }

    /// What does not work although the server is ready: an outage of a store that all replicas share must not take all of
    /// them out of service.
    pub(super) fn degraded(&self) -> watch::Receiver<Option<&'static str>> {
        self.degraded.subscribe()
    }

    /// Updates both once.
    pub(super) fn update(&self) {
        let (now, degraded) = match self.check() {
            Ok(degraded) => (Ok(()), degraded),
            Err(code) => (Err(code), None),
        };
        self.degraded.send_if_modified(|known| std::mem::replace(known, degraded) != degraded);
        // In this order: a reader of the readiness can rely on gRPC health having been updated.
        self.ready.send_if_modified(|known| std::mem::replace(known, now.is_ok()) != now.is_ok());
        self.readiness.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn check(&self) -> Result<Option<&'static str>, &'static str> {
        if *self.stages.borrow() != Stage::Serving {
            return Err("draining");
        }
        let mut degraded = None;
        if self.store.health().is_err() {
            // An embedded store that failed stays so until a restart. An edge decides for a while without the centre.
            if !self.authority.is_replica() && !self.authority.is_edge() {
                return Err("store_unavailable");
            }
            degraded = Some("store_unavailable");
        }
        match self.authority.decidable() {
            Ok(Decidable::All) => {}
            Ok(Decidable::Some) => degraded = Some("store_stale"),
            Err(Undecidable::Stale) => return Err("store_stale"),
            Err(Undecidable::RecordTooNew) => return Err("record_too_new"),
        }
        self.identity.as_ref().map_or(Ok(()), |identity| identity.readiness())?;
        self.certificate.readiness(self.authority.clock().now()).map(|()| degraded)
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
