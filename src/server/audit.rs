//! The audit trail: where it goes, and its regular work.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
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

/// How long a server that ends waits for the last records to be on the disk.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Where the audit trail goes: the log, and a file where one is configured.
#[derive(Debug)]
struct Both {
    log: Arc<dyn AuditSink>,
    file: WithTrace<Arc<AuditFile>>,
}

impl AuditSink for Both {
    fn wants(&self, severity: Severity) -> bool {
        self.file.wants(severity) || self.log.wants(severity)
    }

    fn record(&self, record: AuditRecord) {
        if self.file.wants(record.severity()) {
            self.file.record(record.clone());
        }
        self.log.record(record);
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

    /// Records the numbers of folded refusals each second.
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
    }

    /// Records what is still counted, and ends the file's chain.
    pub(super) async fn finish(self) {
        self.refusals.finish();
        let Some(file) = self.file else { return };
        // A disk that does not answer keeps no server from ending.
        if timeout(LAST_RECORDS, spawn_blocking(move || file.close())).await.is_err() {
            tracing::error!("the last records of the audit trail are not on the disk");
        }
    }
}
