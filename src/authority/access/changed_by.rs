//! The author of a change.

use std::sync::Arc;

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
}

impl<'a> From<&'a PeerIdentity> for ChangedBy<'a> {
    fn from(identity: &'a PeerIdentity) -> Self {
        Self { identity, reason: None, is_kept: true }
    }
}

impl<'a> From<&'a Arc<PeerIdentity>> for ChangedBy<'a> {
    fn from(identity: &'a Arc<PeerIdentity>) -> Self {
        Self::from(&**identity)
    }
}
