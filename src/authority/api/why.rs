//! Answers why something was refused, by its reference or by what is known of it.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::observe::ExplainedRefusal;
use crate::authority::observe::RecentRefusal;
use crate::authority::observe::RefusalFilter;
use crate::authority::observe::Unexplained;
use crate::authority::reference::Reference;
use crate::authority::reference::ReplicaTag;
use crate::authority::registration::Claim;
use crate::authority::state::Caller;

impl Authority {
    /// Why a request with this reference was refused. An admin or an auditor is told all of it; any other caller of its own refusals
    /// what is its own, and cannot tell those of others from none. Beside it, for these two, the registrations that claim the
    /// client now.
    pub fn why(&self, caller: &Caller, reference: &str) -> Result<(ExplainedRefusal, Vec<Claim>), Unexplained> {
        let reference = Reference::parse(reference).ok_or(Unexplained::ReferenceMalformed)?;
        if reference.replica() != self.refusals.replica() {
            return Err(Unexplained::OtherReplica(self.replica_with(reference.replica())));
        }
        let refusal = self.refusals.find(reference).ok_or(Unexplained::RefusalNotFound)?;
        if caller.roles.reads_all() {
            return Ok(explained(caller, &refusal));
        }
        let own = ExplainedRefusal::own(&refusal, &caller.identity).ok_or(Unexplained::RefusalNotFound)?;
        Ok((own, Vec::new()))
    }

    /// The newest of the refusals that this replica remembers and an admin asks for, with the registrations that claim each
    /// client now.
    pub fn recent_refusals(
        &self,
        admin: &Caller,
        filter: &RefusalFilter,
        most: usize,
    ) -> Vec<(ExplainedRefusal, Vec<Claim>)> {
        let found: Vec<Arc<RecentRefusal>> = self.refusals.newest(filter, most);
        found.iter().map(|refusal| explained(admin, refusal)).collect()
    }

    /// The running replica whose references begin so.
    fn replica_with(&self, tag: ReplicaTag) -> Option<String> {
        let snapshot = self.snapshot.load();
        let mut names = snapshot.replicas.all().map(|(name, ..)| name);
        names.find(|name| ReplicaTag::of(name) == tag).map(ToOwned::to_owned)
    }
}

/// All of a refusal, and the registrations that claim the SPIFFE ID of its client, or else of its caller.
fn explained(admin: &Caller, refusal: &RecentRefusal) -> (ExplainedRefusal, Vec<Claim>) {
    let told = ExplainedRefusal::whole(refusal);
    let id = {
        let of_evidence = told.evidence.iter().flat_map(|evidence| &evidence.names);
        let of_connection = told.connection.iter().flat_map(|connection| &connection.names);
        let names = [&told.client_id, &told.evidence_text].into_iter().chain(of_evidence).chain(of_connection);
        names.into_iter().find_map(|name| parse_spiffe_id(name))
    };
    let claims = id.map(|id| admin.view.snapshot.directory.claims_of(&id)).unwrap_or_default();
    (told, claims)
}
