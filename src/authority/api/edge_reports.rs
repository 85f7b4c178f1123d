//! What edges have decided: their side, which reports it, and that of the centre, whose report of a resource has it too.

use crate::authority::Authority;
use crate::authority::access::EdgeGrant;
use crate::authority::observe::Decided;
use crate::authority::observe::DecidedReport;
use crate::authority::observe::ReportedDecisions;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::state::Caller;

impl Authority {
    /// What this edge has decided and not reported yet; `None` where that is nothing.
    pub fn decided_since(&self, reported: &mut ReportedDecisions) -> Option<DecidedReport> {
        self.rollup.not_reported(reported, self.clock.now())
    }

    /// Counts what an edge has decided at resources that it is there for. Others are not its to report.
    pub fn take_report(&self, caller: &Caller, decided: Vec<Decided>, not_told_apart: u64) {
        let Some(EdgeGrant::Decisions(grant)) = &caller.roles.edge else { return };
        let view = &caller.view;
        let mut taken = 0;
        for Decided { kind, count } in decided {
            let is_there = view.snapshot.resources.named(&kind.resource).is_some();
            if !is_there || !grant.resources.includes(&kind.resource) || count == 0 {
                continue;
            }
            taken += u64::from(count);
            let status = ClientId::parse(&kind.caller).map(|id| view.snapshot.directory.status(&id));
            let is_stranger = !kind.caller.is_empty() && matches!(status, None | Some(ClientStatus::Unknown));
            self.rollup.add(kind, count, is_stranger, view.now);
        }
        self.metrics.reported_by_edge(taken, not_told_apart);
    }
}
