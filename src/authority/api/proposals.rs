//! Changes that wait for a second admin: seen, approved, rejected.

use serde::de::DeserializeOwned;

use crate::authority::Authority;
use crate::authority::access::Approved;
use crate::authority::access::ChangedBy;
use crate::authority::access::Consent;
use crate::authority::access::ControlledKind;
use crate::authority::access::TeamGrant;
use crate::authority::access::Within;
use crate::authority::api::registry::Managed;
use crate::authority::decision::ProposalError;
use crate::authority::records::ProposalId;
use crate::authority::records::RegistrationChange;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::Caller;
use crate::authority::state::ProposalRecord;
use crate::authority::state::ProposedChange;
use crate::authority::state::ProposedStates;
use crate::authority::state::SeenProposal;
use crate::authority::state::proposal_key;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;

/// A proposal, and the revision of its record.
struct Stored {
    key: String,
    revision: Revision,
    record: ProposalRecord,
}

impl Authority {
    /// The changes that wait and that a caller sees: all for an admin or an auditor, else those that it proposed itself.
    pub async fn seen_proposals(&self, caller: &Caller) -> Result<Vec<SeenProposal>, ProposalError> {
        let mut seen = Vec::new();
        for (.., record) in self.waiting().await? {
            if let Some(record) = record.filter(|record| sees(caller, record)) {
                let is_outdated = self.is_outdated(&record).await?;
                seen.push(SeenProposal { record, is_outdated });
            }
        }
        seen.sort_by_key(|seen| (seen.record.time, seen.record.id().to_owned()));
        Ok(seen)
    }

    /// A change that waits, for a caller that sees it, with what it would change.
    pub async fn seen_proposal(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(SeenProposal, ProposedStates), ProposalError> {
        let Stored { record, .. } = self.stored_proposal(id).await?;
        if !sees(caller, &record) {
            return Err(ProposalError::NotFound);
        }
        let is_outdated = self.is_outdated(&record).await?;
        let states = match record.kind {
            ControlledKind::Client => ProposedStates::Client(Box::new(self.proposed::<ClientRegistration>(&record)?)),
            ControlledKind::Resource if record.change == ProposedChange::Forget => {
                ProposedStates::State(change(&record, Some("deleted".to_owned()), None))
            }
            ControlledKind::Resource => {
                ProposedStates::Resource(Box::new(self.proposed::<ProtectedResource>(&record)?))
            }
            ControlledKind::Grant => ProposedStates::Grant(Box::new(self.proposed::<TeamGrant>(&record)?)),
            ControlledKind::SigningKey => ProposedStates::State(change(&record, None, Some("next".to_owned()))),
            ControlledKind::Revocation => {
                ProposedStates::State(change(&record, Some(format!("revoked: {}", record.name)), None))
            }
            ControlledKind::Feature => ProposedStates::State(change(&record, None, Some("enabled".to_owned()))),
        };
        Ok((SeenProposal { record, is_outdated }, states))
    }

    /// Makes a proposed change, exactly as it was proposed, by the approval of a second admin.
    pub async fn approve_proposal(&self, caller: &Caller, id: &str) -> Result<ProposalRecord, Refused<ProposalError>> {
        self.approve(caller, id).await.map_err(|error| self.record_proposal_refused(caller, error))
    }

    /// Ends a proposal without its change: an admin rejects any, and who proposed it withdraws it.
    pub async fn reject_proposal(&self, caller: &Caller, id: &str) -> Result<ProposalRecord, Refused<ProposalError>> {
        self.reject(caller, id).await.map_err(|error| self.record_proposal_refused(caller, error))
    }

    async fn approve(&self, caller: &Caller, id: &str) -> Result<ProposalRecord, ProposalError> {
        let Stored { key, revision, record } = self.stored_proposal(id).await?;
        if record.proposer.is(&caller.view, &caller.identity) {
            return Err(ProposalError::OwnProposal);
        }
        if !record.proposer.may_still(&caller.view) {
            return Err(ProposalError::ProposerNotAllowed);
        }
        let by = caller.identity.to_string();
        let approved = Approved { key, revision, proposed_by: record.proposer.name.clone(), approved_by: by.clone() };
        // What lies within the grants of a team's admin is asked again, by its grants of now.
        let grants = match record.proposer.id() {
            Some(id) if !record.proposer.as_admin => caller.view.grants_held_by(&id),
            Some(_) | None => Vec::new(),
        };
        let author = ChangedBy {
            reason: record.reason.as_deref(),
            within: if record.proposer.as_admin { Within::Everything } else { Within::Grants(&grants) },
            consent: Consent::Given(&approved),
            ..ChangedBy::from(&caller.identity)
        };
        match self.make_proposed(caller, author, &record).await {
            Ok(()) => {
                self.record_proposal(&by, &record, "approved", None);
                Ok(record)
            }
            Err(error) => match self.stored_proposal(id).await {
                // Another admin was first, and nothing waits any more.
                Err(ProposalError::NotFound) => Err(ProposalError::NotFound),
                Ok(_) | Err(_) => Err(error),
            },
        }
    }

    async fn make_proposed(
        &self,
        caller: &Caller,
        author: ChangedBy<'_>,
        record: &ProposalRecord,
    ) -> Result<(), ProposalError> {
        let base = record.base.map(Revision);
        match record.kind {
            ControlledKind::Client => self.make_registered::<ClientRegistration>(author, record).await,
            ControlledKind::Resource if record.change == ProposedChange::Forget => {
                Ok(self.forget_at(author, &record.name, base).await?)
            }
            ControlledKind::Resource => self.make_registered::<ProtectedResource>(author, record).await,
            ControlledKind::Grant => self.make_registered::<TeamGrant>(author, record).await,
            ControlledKind::SigningKey => self.rotate_at(caller, author, base).await,
            ControlledKind::Revocation => self.lift_at(caller, author, &record.name, base).await,
            ControlledKind::Feature => self.enable_approved(author, &record.name).await,
        }
    }

    async fn make_registered<T: Managed>(
        &self,
        author: ChangedBy<'_>,
        record: &ProposalRecord,
    ) -> Result<(), ProposalError> {
        match (record.change, record.base.map(Revision)) {
            (ProposedChange::Create, None) => {
                self.create::<T>(author, metadata(record)?, false).await?;
            }
            (ProposedChange::Update, Some(base)) => {
                self.update::<T>(author, metadata(record)?, base, false).await?;
            }
            (ProposedChange::Delete, Some(base)) => self.delete::<T>(author, &record.name, Some(base)).await?,
            _ => return Err(ProposalError::Unreadable),
        }
        Ok(())
    }

    async fn reject(&self, caller: &Caller, id: &str) -> Result<ProposalRecord, ProposalError> {
        let Stored { key, revision, record } = self.stored_proposal(id).await?;
        let own = record.proposer.is(&caller.view, &caller.identity);
        if !own && !caller.roles.admin {
            return Err(ProposalError::NotYours);
        }
        match self.store.delete(&key, Expected::At(revision)).await {
            Ok(revision) => {
                let change = if own { "withdrawn" } else { "rejected" };
                self.record_proposal(&caller.identity.to_string(), &record, change, Some(revision));
                Ok(record)
            }
            Err(StoreError::Conflict { .. }) => Err(ProposalError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    /// What waits under an identifier. Its place may have another one by now.
    async fn stored_proposal(&self, id: &str) -> Result<Stored, ProposalError> {
        let key = proposal_key(ProposalId::parse(id).ok_or(ProposalError::NotFound)?.place());
        let stored = self.store.get(&key).await?.ok_or(ProposalError::NotFound)?;
        let record = ProposalRecord::from_bytes(&stored.value).map_err(|error| {
            tracing::error!(%error, key, "a proposal cannot be read");
            ProposalError::Unreadable
        })?;
        if record.id() != id.to_ascii_lowercase() || record.expires <= self.clock.now() {
            return Err(ProposalError::NotFound);
        }
        Ok(Stored { key, revision: stored.revision, record })
    }

    /// Whether what a change was proposed for is another one by now.
    async fn is_outdated(&self, record: &ProposalRecord) -> Result<bool, ProposalError> {
        let present = self.store.get(&record.changed_key()).await?;
        Ok(present.map(|present| present.revision.0) != record.base)
    }

    /// From what to what. What it would replace is not known any more once that has changed.
    fn proposed<T: Managed>(&self, record: &ProposalRecord) -> Result<RegistrationChange<T::Metadata>, ProposalError> {
        let present = self.named::<T>(&record.name).ok();
        let present = present.filter(|present| Some(present.revision.0) == record.base);
        let before = present.map(|present| present.registration.metadata().into_owned());
        let after = record.metadata.as_ref().map(|_| metadata(record)).transpose()?;
        Ok(change(record, before, after))
    }

    fn record_proposal_refused(&self, caller: &Caller, error: ProposalError) -> Refused<ProposalError> {
        let reference = self.record_not_changed(caller, "proposal", error.code(), &error.to_string());
        Refused { error, reference }
    }
}

/// Whether a caller sees a proposal.
fn sees(caller: &Caller, record: &ProposalRecord) -> bool {
    caller.sees().is_everything() || record.proposer.is(&caller.view, &caller.identity)
}

fn metadata<M: DeserializeOwned>(record: &ProposalRecord) -> Result<M, ProposalError> {
    let metadata = record.metadata.clone().and_then(|metadata| serde_json::from_value(metadata).ok());
    metadata.ok_or(ProposalError::Unreadable)
}

fn change<M>(record: &ProposalRecord, before: Option<M>, after: Option<M>) -> RegistrationChange<M> {
    let change: &str = record.change.into();
    RegistrationChange {
        change: change.to_owned(),
        time: record.time,
        by: record.proposer.name.clone(),
        approved_by: None,
        reason: record.reason.clone(),
        number: 0,
        before,
        after,
    }
}
