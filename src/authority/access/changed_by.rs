//! The author of a change, and what bounds it.

use std::sync::Arc;

use crate::authority::access::team_grant::RegisteredGrant;
use crate::authority::identity::PeerIdentity;
use crate::authority::store::Revision;

/// Who changes a registration, and why.
#[derive(Clone, Copy, Debug)]
pub struct ChangedBy<'a> {
    /// The caller.
    pub identity: &'a PeerIdentity,
    /// The reason in the caller's words, if one was given.
    pub reason: Option<&'a str>,
    /// Whether the change is kept in the history. What workloads change of their own registrations is in the audit trail
    /// alone: they could fill the store, and push out what admins changed.
    pub is_kept: bool,
    /// What the registration must lie within, as it is and as it will be.
    pub within: Within<'a>,
    /// Whether a second admin consents.
    pub consent: Consent<'a>,
}

impl ChangedBy<'_> {
    /// Who made the change: of a proposed one, who proposed it.
    pub fn name(&self) -> String {
        match self.consent {
            Consent::Given(approved) => approved.proposed_by.clone(),
            Consent::Needed | Consent::OwnRegistration => self.identity.to_string(),
        }
    }

    /// The second admin who approved it.
    pub fn approver(&self) -> Option<&str> {
        match self.consent {
            Consent::Given(approved) => Some(&approved.approved_by),
            Consent::Needed | Consent::OwnRegistration => None,
        }
    }
}

/// Whether a second admin consents to a change.
#[derive(Clone, Copy, Debug)]
pub enum Consent<'a> {
    /// Where the configuration asks for one, the change is proposed and not made.
    Needed,
    /// It takes none: what a workload registers of itself lies within what an operator registered for it.
    OwnRegistration,
    /// One has approved the change.
    Given(&'a Approved),
}

impl Consent<'_> {
    /// Whether the change is one for which a second admin may have to consent first.
    pub fn is_needed(self) -> bool {
        matches!(self, Self::Needed)
    }
}

/// A proposal that is approved, and with it the change that it is.
#[derive(Clone, Debug)]
pub struct Approved {
    /// The key of the proposal in the store.
    pub key: String,
    /// The revision of its record.
    pub revision: Revision,
    /// Who proposed it.
    pub proposed_by: String,
    /// Who approved it.
    pub approved_by: String,
}

/// What a caller may change or see of the registry.
#[derive(Clone, Copy, Debug)]
pub enum Within<'a> {
    /// Everything: an admin's, an auditor's to see, and a workload's own registration.
    Everything,
    /// What lies within one of these grants: a team's admin.
    Grants(&'a [Arc<RegisteredGrant>]),
}

impl Within<'_> {
    /// Whether nothing bounds the caller.
    pub fn is_everything(self) -> bool {
        matches!(self, Self::Everything)
    }
}

impl<'a> From<&'a PeerIdentity> for ChangedBy<'a> {
    fn from(identity: &'a PeerIdentity) -> Self {
        Self { identity, reason: None, is_kept: true, within: Within::Everything, consent: Consent::Needed }
    }
}

impl<'a> From<&'a Arc<PeerIdentity>> for ChangedBy<'a> {
    fn from(identity: &'a Arc<PeerIdentity>) -> Self {
        Self::from(&**identity)
    }
}
