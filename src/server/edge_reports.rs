//! Reports to the centre what this edge has decided.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::observe::ReportedDecisions;
use crate::server::supervised;
use crate::store::upstream::DecisionReports;

/// How long decisions gather before they are reported.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reports for as long as the server runs. What an upstream does not take waits, as counts.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, reports: &Arc<DecisionReports>) {
    let (core, reports) = (Arc::clone(authority), Arc::clone(reports));
    supervised::spawn(tasks, authority, "reports", move || run(Arc::clone(&core), Arc::clone(&reports)));
}

async fn run(authority: Arc<Authority>, reports: Arc<DecisionReports>) {
    let mut reported = ReportedDecisions::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        while let Some(report) = authority.decided_since(&mut reported) {
            reports.deliver(&report).await;
            reported.arrived(report);
        }
    }
}
