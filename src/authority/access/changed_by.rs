//! The author of a change, and what bounds it.

use std::sync::Arc;

use crate::authority::access::team_grant::RegisteredGrant;
use crate::authority::identity::PeerIdentity;

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
        Self { identity, reason: None, is_kept: true, within: Within::Everything }
    }
}

impl<'a> From<&'a Arc<PeerIdentity>> for ChangedBy<'a> {
    fn from(identity: &'a Arc<PeerIdentity>) -> Self {
        Self::from(&**identity)
    }
}
