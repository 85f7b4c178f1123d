//! Changes that a second admin has to approve: which they are, and what is proposed instead of them.

use serde_json::Value;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::Consent;
use crate::authority::access::ControlledKind;
use crate::authority::api::registry::Managed;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::authority::records::Held;
use crate::authority::records::PROPOSALS;
use crate::authority::records::ProposalId;
use crate::authority::records::Registered;
use crate::authority::records::RegistryError;
use crate::authority::state::Feature;
use crate::authority::state::ProposalRecord;
use crate::authority::state::ProposedChange;
use crate::authority::state::Proposer;
use crate::authority::state::proposal_key;
use crate::authority::store::Expected;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::UnreadableRecord;

/// How many changes wait at most. Each takes 64 KiB at most, and all of them are read to list them.
const PLACES: u8 = 128;

/// How many of the places teams' admins may take: admins have the others.
const PLACES_OF_TEAMS: u8 = 64;

/// How many of the places one admin may take, and one admin of a team.
const MOST_OF_ONE: (usize, usize) = (48, 16);

/// A change that is to be proposed.
#[derive(Clone, Debug)]
pub(in crate::authority::api) struct Wanted<'a> {
    pub(in crate::authority::api) kind: ControlledKind,
    pub(in crate::authority::api) name: &'a str,
    pub(in crate::authority::api) change: ProposedChange,
    pub(in crate::authority::api) metadata: Option<Value>,
    pub(in crate::authority::api) base: Option<Revision>,
}

impl Authority {
    /// Refuses a change of a registration that a second admin has to approve, and proposes it.
    pub(in crate::authority::api) async fn unless_held<T: Managed>(
        &self,
        by: ChangedBy<'_>,
        (before, after): (Option<&Registered<T>>, Option<&T>),
        (change, base): (ProposedChange, Option<Revision>),
    ) -> Result<(), RegistryError> {
        if !self.is_held(by, (before, after)) {
            return Ok(());
        }
        let Some(named) = after.or(before.map(|before| &before.registration)) else { return Ok(()) };
        let metadata = after.map(|after| serde_json::to_value(&*after.metadata())).transpose();
        let metadata = metadata.map_err(|_| RegistryError::Unavailable)?;
        let wanted = Wanted { kind: T::CONTROLLED, name: named.name(), change, metadata, base };
        match self.propose(by, wanted).await {
            Ok(held) => Err(RegistryError::Held(held)),
            Err(error) => Err(RegistryError::of_store(T::KIND, &error)),
        }
    }

    /// Whether a second admin has to approve a change of a registration first.
    pub(in crate::authority::api) fn is_held<T: Managed>(
        &self,
        by: ChangedBy<'_>,
        (before, after): (Option<&Registered<T>>, Option<&T>),
    ) -> bool {
        if !by.consent.is_needed() || self.policy.dual_control.rules.is_empty() {
            return false;
        }
        let both = before.map(|before| &before.registration).into_iter().chain(after);
        let names: Vec<String> = both.flat_map(T::names).collect();
        // What a record said that cannot be read is unknown.
        let takes_away = before.is_some_and(|before| before.suspended.is_none() && T::takes_away(self, before, after));
        self.policy.dual_control.holds(T::CONTROLLED, &names) && !takes_away
    }

    /// Whether a second admin has to approve a change of what is no registration first.
    pub(in crate::authority::api) fn holds(&self, by: ChangedBy<'_>, kind: ControlledKind) -> bool {
        by.consent.is_needed() && self.policy.dual_control.holds(kind, &[])
    }

    /// Stores a change for a second admin. What the same admin has proposed already is not proposed twice.
    pub(in crate::authority::api) async fn propose(
        &self,
        by: ChangedBy<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Held, StoreError> {
        let view = self.view();
        if !view.snapshot.features.is_enabled(Feature::DualControl) {
            return Ok(Held::NotEnabled);
        }
        if Feature::DualControl.not_read_by(&view.snapshot.replicas).is_some() {
            return Ok(Held::OldReplica);
        }
        let mut waiting = self.waiting().await?;
        let as_admin = by.within.is_everything();
        let (most, places) = if as_admin { (MOST_OF_ONE.0, PLACES) } else { (MOST_OF_ONE.1, PLACES_OF_TEAMS) };
        let Wanted { kind, name, change, metadata, base } = wanted;
        let proposer = Proposer::of(&view, by.identity, as_admin);
        let expires = view.now.after(self.policy.dual_control.ttl);
        let mut chance = [0; 4];
        self.entropy.fill(&mut chance).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let chance = u32::from_be_bytes(chance);
        let of = |place| {
            let id = ProposalId::new(place, chance);
            let (what, states) = ((kind, name, change), (metadata.clone(), base));
            (id, ProposalRecord::new(id, what, states, (proposer.clone(), by.reason), (view.now, expires)))
        };
        let (_, wanted) = of(0);
        let own: Vec<_> = waiting.iter().flat_map(|(_, _, record)| record).collect();
        let own = own
            .into_iter()
            .filter(|record| record.proposer.as_admin == as_admin && record.proposer.is(&view, by.identity));
        let mut count = 0;
        for record in own {
            if record.proposes_the_same(&wanted)
                && let Some(id) = ProposalId::parse(record.id())
            {
                return Ok(Held::Proposed(id));
            }
            count += 1;
        }
        if count >= most {
            return Ok(Held::TooMany);
        }
        for place in 0..places {
            let key = proposal_key(place);
            if waiting.iter().any(|(taken, ..)| *taken == key) {
                continue;
            }
            let (id, record) = of(place);
            let bytes =
                record.to_bytes().ok_or_else(|| StoreError::Unavailable("a proposal has no JSON".to_owned()))?;
            if bytes.len() > MAX_VALUE_BYTES {
                return Err(StoreError::TooLarge { bytes: bytes.len(), limit: MAX_VALUE_BYTES });
            }
            let put = Transaction::default().compare(&key, Expected::Absent).put_until(&key, bytes, expires);
            match self.store.transact(put).await {
                Ok(revision) => {
                    self.record_proposal(&by.identity.to_string(), &record, "proposed", Some(revision));
                    return Ok(Held::Proposed(id));
                }
                // Another one has taken the place meanwhile.
                Err(StoreError::Conflict { .. }) => waiting.push((key, Revision::default(), None)),
                Err(error) => return Err(error),
            }
        }
        Ok(Held::TooMany)
    }

    /// What waits, by its keys; without the record where it cannot be read.
    pub(in crate::authority::api) async fn waiting(
        &self,
    ) -> Result<Vec<(String, Revision, Option<ProposalRecord>)>, StoreError> {
        let waiting = self.stored_proposals().await?.into_iter().map(|(key, revision, record)| {
            let record = record.inspect_err(|error| tracing::error!(%error, key, "a proposal cannot be read"));
            (key, revision, record.ok())
        });
        Ok(waiting.collect())
    }

    /// The proposals that have not expired, and those that cannot be read.
    async fn stored_proposals(
        &self,
    ) -> Result<Vec<(String, Revision, Result<ProposalRecord, UnreadableRecord>)>, StoreError> {
        let now = self.clock.now();
        let entries = self.store.list(PROPOSALS).await?.entries.into_iter();
        let read = entries.map(|(key, stored)| (key, stored.revision, ProposalRecord::from_bytes(&stored.value)));
        Ok(read.filter(|(.., record)| record.as_ref().map_or(true, |record| record.expires > now)).collect())
    }

    /// Counts the changes that wait, for the metrics.
    pub async fn count_proposals(&self) -> Result<(), StoreError> {
        // Without the feature there are none.
        let is_enabled = self.view().snapshot.features.is_enabled(Feature::DualControl);
        let waiting = if is_enabled { self.stored_proposals().await? } else { Vec::new() };
        self.waiting_proposals.set(waiting.iter().filter_map(|(.., record)| Some(record.as_ref().ok()?.time)));
        Ok(())
    }

    /// Records that a change was proposed, approved, rejected or withdrawn.
    pub(in crate::authority::api) fn record_proposal(
        &self,
        by: &str,
        proposal: &ProposalRecord,
        change: &'static str,
        revision: Option<Revision>,
    ) {
        self.record(AuditEvent::Proposal, Severity::Info, AuditOutcome::Changed, |record| {
            let name = Some(proposal.name.clone());
            let record = AuditRecord {
                actor: Some(by.to_owned()),
                change: Some(change),
                comment: proposal.reason.clone(),
                proposal: Some(proposal.id().to_owned()),
                proposed: Some(proposal.change.into()),
                revision: revision.map(|revision| revision.0),
                ..record
            };
            match proposal.kind {
                ControlledKind::Client => AuditRecord { client_id: name, ..record },
                ControlledKind::Resource => AuditRecord { resource: name, ..record },
                ControlledKind::Grant => AuditRecord { grant: name, ..record },
                ControlledKind::Revocation => AuditRecord { revoked: name, ..record },
                ControlledKind::Feature => {
                    AuditRecord { feature: Feature::named(&proposal.name).map(Feature::name), ..record }
                }
                ControlledKind::SigningKey => record,
            }
        });
    }
}

impl Consent<'_> {
    /// Ends the proposal that a change was, in the transaction of the change: it is made once.
    pub(in crate::authority::api) fn used_in(self, change: Transaction) -> Transaction {
        match self {
            Self::Given(approved) => {
                change.compare(&approved.key, Expected::At(approved.revision)).delete(&approved.key)
            }
            Self::Needed | Self::OwnRegistration => change,
        }
    }
}
