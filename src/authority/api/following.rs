//! Shows decisions to those who follow them.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::Within;
use crate::authority::decision::present_within;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::DecisionFilter;
use crate::authority::observe::Follower;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::state::Caller;
use crate::authority::state::Snapshot;

impl Authority {
    /// Follows the decisions that this replica makes from now on. A team's admin gets those at resources and of clients that lie
    /// within its grants when they are made. `None` where too many follow already.
    pub fn follow(&self, caller: &Caller, filter: DecisionFilter) -> Option<Follower> {
        let team_admin = if caller.roles.reads_all() { None } else { Some(Arc::clone(&caller.identity)) };
        self.followers.add(filter, team_admin)
    }

    /// Whether somebody follows decisions, and such an event is one.
    pub(in crate::authority::api) fn is_followed(&self, event: AuditEvent) -> bool {
        self.followers.is_any() && event.is_decision()
    }

    /// Shows a decision to those who follow such.
    pub(in crate::authority::api) fn show(&self, record: &AuditRecord) {
        self.followers.show(self.clock.now(), record, |admin| self.is_within_grants_of(admin, record));
    }

    fn is_within_grants_of(&self, admin: &PeerIdentity, record: &AuditRecord) -> bool {
        let view = self.view();
        let grants = view.grants_of(admin);
        let bounds = Within::Grants(&grants);
        let at_its_resource = record
            .resource
            .as_deref()
            .and_then(|audience| view.snapshot.resources.named(audience))
            .is_some_and(|resource| present_within(bounds, resource).is_ok());
        at_its_resource || is_of_client_within(&view.snapshot, bounds, record)
    }
}

fn is_of_client_within(snapshot: &Snapshot, bounds: Within<'_>, record: &AuditRecord) -> bool {
    let status = record.client_id.as_deref().and_then(ClientId::parse).map(|id| snapshot.directory.status(&id));
    match status {
        Some(ClientStatus::Registered(client)) => present_within(bounds, &client).is_ok(),
        Some(ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled)
        | None => false,
    }
}
