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
use crate::telemetry::WithTrace;
use crate::telemetry::trail;
use crate::telemetry::trail::AuditFile;
use crate::telemetry::trail::jwk_set;

/// How long a server that ends waits for the last records to be on the disk.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// How often the last record of the file is kept in the store, if there is a new one.
const HEAD_EVERY: Duration = Duration::from_mins(1);

/// Where the audit trail goes: the log, and a file where one is configured.
#[derive(Debug)]
struct Both {
    log: Arc<dyn AuditSink>,
    file: WithTrace<Arc<AuditFile>>,
}

impl AuditSink for Both {
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        self.file.wants(event, severity) || self.log.wants(event, severity)
    }

    fn record(&self, record: AuditRecord) {
        let (event, severity) = (record.event(), record.severity());
        if self.file.wants(event, severity) {
            self.file.record(record.clone());
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
    file: Option<Arc<AuditFile>>,
}

impl Audit {
    /// Opens the file, if one is configured, beside the log.
    pub(in crate::server) fn open(
        config: Option<trail::Config>,
        log: Arc<dyn AuditSink>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, StartError> {
        let Some(config) = config else {
            return Ok(Self { refusals: Arc::new(FoldedRefusals::new(log, Arc::clone(clock))), file: None });
        };
        let mut chance = [0; 4];
        entropy.fill(&mut chance).map_err(|error| StartError::Setup(error.into()))?;
        let chain = format!("{}-{}-{}", host_name(), clock.now().0, hex::encode(chance));
        let file = Arc::new(AuditFile::open(config, chain, Arc::clone(clock))?);
        let both = Arc::new(Both { log, file: WithTrace(Arc::clone(&file)) });
        Ok(Self { refusals: Arc::new(FoldedRefusals::new(both, Arc::clone(clock))), file: Some(file) })
    }

    /// Where the core's records go.
    pub(in crate::server) fn sink(&self) -> Arc<dyn AuditSink> {
        Arc::<FoldedRefusals>::clone(&self.refusals)
    }

    /// The file, if one is configured.
    pub(in crate::server) fn file(&self) -> Option<Arc<AuditFile>> {
        self.file.clone()
    }

    /// The public key that verifies what the file's chains are signed with, as a JWK Set.
    pub(in crate::server) fn public_keys(&self) -> Arc<str> {
        jwk_set(self.file.as_ref().and_then(|file| file.public_key())).into()
    }

    /// Records the numbers of folded refusals each second, and keeps the last record of the file in the store.
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
        let Some(file) = &self.file else { return };
        let (file, authority) = (Arc::clone(file), Arc::clone(authority));
        supervised::spawn(tasks, &Arc::clone(&authority), "audit heads", move || {
            let (file, authority) = (Arc::clone(&file), Arc::clone(&authority));
            async move {
                let mut kept = None;
                loop {
                    let head = file.head();
                    // The time of a record does not make it another one.
                    if kept.as_ref() != Some(&head.hash) && keep(&authority, &head).await {
                        kept = Some(head.hash);
                    }
                    tokio::time::sleep(HEAD_EVERY).await;
                }
            }
        });
    }

    /// Records what is still counted, and ends the file's chain.
    pub(super) async fn finish(self, authority: &Authority) {
        self.refusals.finish();
        let Some(file) = self.file else { return };
        // A disk that does not answer keeps no server from ending, and neither does a store.
        let closing = Arc::clone(&file);
        if timeout(LAST_RECORDS, spawn_blocking(move || closing.close())).await.is_err() {
            tracing::error!("the last records of the audit trail are not on the disk");
        }
        if timeout(LAST_RECORDS, keep(authority, &file.head())).await.is_err() {
            tracing::warn!("the last record of the audit trail is not kept in the store: no answer came in time");
        }
    }
}

/// Keeps the last record of the file in the store. Returns whether it is there.
async fn keep(authority: &Authority, head: &AuditHead) -> bool {
    let kept = authority.keep_audit_head(head).await;
    kept.inspect_err(|error| tracing::warn!(%error, "the last record of the audit trail is not kept in the store"))
        .is_ok()
}
