//! The audit trail: where it goes, and its regular work.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditHead;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::AuditSink;
use crate::authority::observe::FoldedRefusals;
use crate::authority::observe::Severity;
use crate::server::error::StartError;
use crate::server::host_name::host_name;
use crate::server::supervised;
use crate::telemetry::ExportFailures;
use crate::telemetry::trail;
use crate::telemetry::trail::AuditTrail;
use crate::telemetry::trail::jwk_set;

/// How long a server that ends waits for the last records to be written.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// How often the last record of the trail is kept in the store, if there is a new one.
const HEAD_EVERY: Duration = Duration::from_mins(1);

/// Where records go: the log, and the trail where one is configured.
#[derive(Debug)]
struct Both {
    log: Arc<dyn AuditSink>,
    trail: Arc<AuditTrail>,
}

impl AuditSink for Both {
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        self.trail.wants(event, severity) || self.log.wants(event, severity)
    }

    fn record(&self, record: &AuditRecord) {
        let (event, severity) = (record.event(), record.severity());
        if self.trail.wants(event, severity) {
            self.trail.record(record);
        }
        if self.log.wants(event, severity) {
            self.log.record(record);
        }
    }
}

/// The audit trail of a server.
#[derive(Clone, Debug)]
pub(in crate::server) struct Audit {
    refusals: Arc<FoldedRefusals>,
    trail: Option<Arc<AuditTrail>>,
}

impl Audit {
    /// Opens the destinations of the trail that are configured, beside the log.
    pub(in crate::server) fn open(
        config: Option<trail::Config>,
        log: Arc<dyn AuditSink>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        failures: &Arc<ExportFailures>,
    ) -> Result<Self, StartError> {
        let Some(config) = config else {
            return Ok(Self { refusals: Arc::new(FoldedRefusals::new(log, Arc::clone(clock))), trail: None });
        };
        let mut chance = [0; 4];
        entropy.fill(&mut chance).map_err(|error| StartError::Setup(error.into()))?;
        let chain = format!("{}-{}-{}", host_name(), clock.now().0, hex::encode(chance));
        let trail = Arc::new(AuditTrail::open(config, &chain, Arc::clone(clock), failures)?);
        let both = Arc::new(Both { log, trail: Arc::clone(&trail) });
        Ok(Self { refusals: Arc::new(FoldedRefusals::new(both, Arc::clone(clock))), trail: Some(trail) })
    }

    /// Where the core's records go.
    pub(in crate::server) fn sink(&self) -> Arc<dyn AuditSink> {
        Arc::<FoldedRefusals>::clone(&self.refusals)
    }

    /// The trail, if it goes anywhere but to the log.
    pub(in crate::server) fn trail(&self) -> Option<Arc<AuditTrail>> {
        self.trail.clone()
    }

    /// The public key that verifies what the chains are signed with, as a JWK Set.
    pub(in crate::server) fn public_keys(&self) -> Arc<str> {
        jwk_set(self.trail.as_ref().and_then(|trail| trail.public_key())).into()
    }

    /// Records the numbers of folded refusals each second, and keeps the last record of the trail in the store.
    pub(super) fn start(&self, tasks: &mut JoinSet<()>, authority: &Arc<Authority>) {
        let refusals = Arc::clone(&self.refusals);
        supervised::spawn(tasks, authority, "audit", move || {
            let refusals = Arc::clone(&refusals);
            async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    refusals.tick();
                }
            }
        });
        let Some(trail) = self.trail.as_ref().filter(|_| !authority.is_edge()) else { return };
        let (trail, authority) = (Arc::clone(trail), Arc::clone(authority));
        supervised::spawn(tasks, &Arc::clone(&authority), "audit heads", move || {
            let (trail, authority) = (Arc::clone(&trail), Arc::clone(&authority));
            async move {
                let mut kept = None;
                loop {
                    let head = trail.head();
                    // The time of a record does not make it another one.
                    if kept.as_ref() != Some(&head.hash) && keep(&authority, &head).await {
                        kept = Some(head.hash);
                    }
                    tokio::time::sleep(HEAD_EVERY).await;
                }
            }
        });
    }

    /// Records what is still counted, and ends the chain.
    pub(super) async fn finish(self, authority: &Authority) {
        self.refusals.finish();
        let Some(trail) = self.trail else { return };
        // A disk, a reader or a collector that does not answer keeps no server from ending, and neither does a store.
        let closing = Arc::clone(&trail);
        if timeout(LAST_RECORDS, spawn_blocking(move || closing.close(LAST_RECORDS))).await.is_err() {
            tracing::error!("the last records of the audit trail are not written everywhere");
        }
        if authority.is_edge() {
            return;
        }
        if timeout(LAST_RECORDS, keep(authority, &trail.head())).await.is_err() {
            tracing::warn!("the last record of the audit trail is not kept in the store: no answer came in time");
        }
    }
}

/// Keeps the last record of the trail in the store. Returns whether it is there.
async fn keep(authority: &Authority, head: &AuditHead) -> bool {
    let kept = authority.keep_audit_head(head).await;
    kept.inspect_err(|error| tracing::warn!(%error, "the last record of the audit trail is not kept in the store"))
        .is_ok()
}
