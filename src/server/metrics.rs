//! All metrics of a server: those of the core, and those that only the composition root knows.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::observe::Family;
use crate::authority::observe::MetricsReader;
use crate::authority::observe::Reloaded;
use crate::authority::observe::labels;
use crate::http::ops::Readiness;
use crate::limits::Refusals;
use crate::limits::Shares;
use crate::server::start::Stored;
use crate::server::supervised;
use crate::server::transport::Newcomers;
use crate::signer::pkcs11::Pkcs11;
use crate::store::disk::Disk;
use crate::telemetry;
use crate::telemetry::ExportFailures;
use crate::telemetry::metrics::Push;
use crate::telemetry::otlp;
use crate::telemetry::trail;
use crate::telemetry::trail::AuditTrail;
use crate::tls::outbound::OutboundError;
use crate::tls::server_certificate::ServerCertificate;

/// The sources of the metrics.
#[derive(Debug)]
pub(super) struct Sources {
    authority: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    readiness: Readiness,
    stored: Stored,
    token: Option<Pkcs11>,
    newcomers: Newcomers,
    limits: (Arc<Shares>, Arc<Refusals>),
    pub(super) export_failures: Arc<ExportFailures>,
    audit: Option<Arc<AuditTrail>>,
}

impl Sources {
    pub(super) fn new(
        authority: &Arc<Authority>,
        certificate: &Arc<ServerCertificate>,
        readiness: &Readiness,
        (stored, token): (Stored, Option<Pkcs11>),
        newcomers: &Newcomers,
        limits: (Arc<Shares>, Arc<Refusals>),
        (export_failures, audit): (Arc<ExportFailures>, Option<Arc<AuditTrail>>),
    ) -> Arc<Self> {
        Arc::new(Self {
            authority: Arc::clone(authority),
            certificate: Arc::clone(certificate),
            readiness: readiness.clone(),
            stored,
            token,
            newcomers: newcomers.clone(),
            limits,
            export_failures,
            audit,
        })
    }

    /// A reader of all metrics of these sources.
    pub(super) fn metrics_reader(self: &Arc<Self>) -> MetricsReader {
        let sources = Arc::clone(self);
        MetricsReader::new(move || sources.families())
    }

    /// Pushes the metrics to a collector periodically.
    pub(super) fn push(self: &Arc<Self>, tasks: &mut JoinSet<()>, config: &otlp::Config) -> Result<(), OutboundError> {
        let push = Push {
            channel: otlp::channel(config)?,
            interval: config.metrics_interval,
            metrics: self.metrics_reader(),
            started: self.authority.clock().now(),
            clock: Arc::clone(self.authority.clock()),
            failures: Arc::clone(&self.export_failures),
        };
        supervised::spawn(tasks, &self.authority, "metrics", move || push.clone().run());
        Ok(())
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.authority.metric_families();
        let certificate_end = self.certificate.not_after().map(|end| (Vec::new(), end.0));
        families.push(Family::gauges(
            "lanyard_server_certificate_expiry_timestamp_seconds",
            "When the presented server certificate expires, in Unix time",
            certificate_end,
        ));
        let ready = u64::from(self.readiness.borrow().is_ok());
        families.push(Family::gauges("lanyard_ready", "Whether the server is ready", [(Vec::new(), ready)]));
        families.extend(self.replica());
        families.extend(token(self.token.as_ref()));
        families.extend(self.newcomers.families());
        let (shares, refusals) = &self.limits;
        families.extend(shares.families());
        families.extend(refusals.families());
        families.push(self.stored.operations.family());
        families.extend(self.stored.disk.iter().flat_map(Disk::families));
        families.push(self.reloads());
        families.push(self.export_failures.family());
        families.push(telemetry::dropped_lines());
        families.extend(trail::families(self.audit.as_deref()));
        families
    }

    /// How the store is followed.
    fn replica(&self) -> [Family; 4] {
        let one = |value: u64| [(Vec::new(), value)];
        let age = self.authority.staleness().map(|age| (Vec::new(), age.as_secs()));
        let writable = u64::from(self.stored.store.health().is_ok());
        let replicas = self.authority.view().snapshot.replicas.all().count().max(1);
        [
            Family::gauges("lanyard_store_staleness_seconds", "How old what decisions are made from may be", age),
            Family::gauges("lanyard_store_writable", "Whether the store accepts writes", one(writable)),
            Family::gauges("lanyard_replicas", "The replicas that use the same store", one(count(replicas))),
            Family::gauges(
                "lanyard_leader",
                "Whether this replica does the work that one of all does",
                one(u64::from(self.authority.leads())),
            ),
        ]
    }

    fn reloads(&self) -> Family {
        let reloads = self.authority.reloads();
        let samples = Reloaded::ALL.map(|what| (labels([("what", what.label())]), u64::from(reloads.is_failing(what))));
        Family::gauges("lanyard_reload_failing", "Whether a change on the disk cannot be applied", samples)
    }
}

/// The PKCS#11 token that holds signing keys. Where there is none, nothing of it is missing.
fn token(token: Option<&Pkcs11>) -> [Family; 2] {
    let one = |value: u64| [(Vec::new(), value)];
    [
        Family::gauges(
            "lanyard_signing_token_available",
            "Whether the PKCS#11 token that holds signing keys answered when it was last asked",
            one(u64::from(token.is_none_or(Pkcs11::is_available))),
        ),
        Family::counters(
            "lanyard_signing_token_failures",
            "How often the PKCS#11 token was lost, or did not come back when that was tried",
            one(token.map_or(0, Pkcs11::failures)),
        ),
    ]
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
