//! All measures of a server: the core's own, and what only the composition root knows.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::observe::Family;
use crate::authority::observe::Measures;
use crate::authority::observe::Reloaded;
use crate::authority::observe::labels;
use crate::http::ops::Standing;
use crate::server::start::Stored;
use crate::server::supervised;
use crate::server::transport::Places;
use crate::store::disk::Disk;
use crate::telemetry::ExportFailures;
use crate::telemetry::metrics::Push;
use crate::telemetry::otlp;
use crate::tls::outbound::OutboundError;
use crate::tls::server_certificate::ServerCertificate;

/// Where the measures come from.
#[derive(Debug)]
pub(super) struct Sources {
    authority: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    standing: Standing,
    stored: Stored,
    places: Vec<Arc<Places>>,
    pub(super) export_failures: Arc<ExportFailures>,
}

impl Sources {
    pub(super) fn new(
        authority: &Arc<Authority>,
        certificate: &Arc<ServerCertificate>,
        standing: &Standing,
        stored: Stored,
        places: &[Arc<Places>],
        export_failures: Arc<ExportFailures>,
    ) -> Arc<Self> {
        Arc::new(Self {
            authority: Arc::clone(authority),
            certificate: Arc::clone(certificate),
            standing: standing.clone(),
            stored,
            places: places.to_vec(),
            export_failures,
        })
    }

    /// The measures that read these.
    pub(super) fn measures(self: &Arc<Self>) -> Measures {
        let sources = Arc::clone(self);
        Measures::new(move || sources.families())
    }

    /// Sends them to a collector, every so often.
    pub(super) fn push(self: &Arc<Self>, tasks: &mut JoinSet<()>, config: &otlp::Config) -> Result<(), OutboundError> {
        let push = Push {
            channel: otlp::channel(config)?,
            interval: config.metrics_interval,
            measures: self.measures(),
            started: self.authority.clock().now(),
            clock: Arc::clone(self.authority.clock()),
            failures: Arc::clone(&self.export_failures),
        };
        supervised::spawn(tasks, &self.authority, "metrics", move || push.clone().run());
        Ok(())
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.authority.measures();
        let certificate_end = self.certificate.not_after().map(|end| (Vec::new(), end.0));
        families.push(Family::gauges(
            "lanyard_server_certificate_expiry_timestamp_seconds",
            "When the certificate ends that the server presents, in Unix time",
            certificate_end,
        ));
        let ready = u64::from(self.standing.borrow().is_ok());
        families.push(Family::gauges("lanyard_ready", "Whether the server is ready", [(Vec::new(), ready)]));
        families.extend(self.connections());
        families.push(self.stored.operations.family());
        families.extend(self.stored.disk.iter().flat_map(Disk::families));
        families.push(self.reloads());
        families.push(self.export_failures.family());
        families
    }

    fn connections(&self) -> [Family; 3] {
        let each = |count: fn(&Places) -> u64| {
            self.places.iter().map(move |places| (labels([("listener", places.listener())]), count(places)))
        };
        [
            Family::gauges("lanyard_connections", "Open connections", each(Places::open)),
            Family::counters("lanyard_connections_accepted", "Connections that were taken", each(Places::accepted)),
            Family::counters(
                "lanyard_connections_refused",
                "Connections that were closed at once, because there were too many",
                each(Places::refused),
            ),
        ]
    }

    fn reloads(&self) -> Family {
        let reloads = self.authority.reloads();
        let samples = Reloaded::ALL.map(|what| (labels([("what", what.label())]), u64::from(reloads.is_failing(what))));
        Family::gauges("lanyard_reload_failing", "Whether what changed on the disk cannot be taken in", samples)
    }
}
