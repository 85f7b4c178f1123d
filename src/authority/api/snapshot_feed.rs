//! The snapshot for those who decide or verify by it elsewhere.

use std::time::Duration;

use crate::authority::Authority;
use crate::authority::access::EdgeGrant;
use crate::authority::edges::NotFollowed;
use crate::authority::edges::ReadChange;
use crate::authority::edges::ReadValue;
use crate::authority::edges::RefusedTokens;
use crate::authority::edges::SnapshotFollower;
use crate::authority::edges::refused_tokens;
use crate::authority::state::Caller;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::too_new;
use crate::authority::store::Batch;
use crate::authority::store::Revision;

impl Authority {
    /// Follows what decisions at the caller's resources take.
    pub fn follow_snapshot(&self, caller: &Caller, after: Option<Revision>) -> Result<SnapshotFollower, NotFollowed> {
        match &caller.roles.edge {
            Some(grant @ EdgeGrant::Decisions(_)) => self.follow_by(grant, after),
            Some(EdgeGrant::Revocations) | None => Err(NotFollowed::NotGranted),
        }
    }

    /// Follows the revocations and the verification keys.
    pub fn follow_revocations(&self, after: Option<Revision>) -> Result<SnapshotFollower, NotFollowed> {
        self.follow_by(&EdgeGrant::Revocations, after)
    }

    /// How old the snapshot may be now, for an answer to a beat. Before the store was read, and for verifiers while it has a
    /// revocation that only a newer version reads, it is as old as can be.
    pub fn age_of_snapshot(&self, for_verifiers: bool) -> Duration {
        let unusable = for_verifiers && self.snapshot.load().needs_newer_version();
        self.staleness().filter(|_| !unusable).unwrap_or(Duration::MAX)
    }

    /// What verifiers refuse because of a revocation, or no longer refuse.
    pub fn refused_tokens(&self, revoked: &Revoked, record: Option<&RevocationRecord>) -> [RefusedTokens; 2] {
        refused_tokens(revoked, record, &self.snapshot.load(), &self.roles.load())
    }

    fn follow_by(&self, grant: &EdgeGrant, after: Option<Revision>) -> Result<SnapshotFollower, NotFollowed> {
        // Before the snapshot is loaded: it is never older than this says.
        let age = self.age_of_snapshot(*grant == EdgeGrant::Revocations);
        self.snapshot_feed.follow(grant, after, age, || self.snapshot.load_full())
    }

    /// Keeps a feed for each grant of the configuration, so that whoever lost another replica goes on at this one.
    pub(in crate::authority) fn set_edge_grants(&self) {
        let roles = self.roles.load();
        self.snapshot_feed.set_grants(roles.edges.iter().map(|(_, grant)| grant), || self.snapshot.load_full());
    }

    /// Publishes what the store's watch delivered, once the snapshot has it.
    pub(in crate::authority::api) fn publish(&self, batch: &Batch) {
        if !self.snapshot_feed.is_any() {
            return;
        }
        let keys = self.keys();
        let read = |key: &str, value: &[u8]| match self.read(&keys, key, value, batch.revision) {
            Ok(Some(entry)) => Some(ReadValue::Entry(entry)),
            Ok(None) => None,
            Err(_) => Some(ReadValue::Unreadable { newer: too_new(key, value).is_some() }),
        };
        let changes = batch.changes.iter().filter_map(|change| {
            let now = change.value.as_deref().map_or(Some(ReadValue::Gone), |value| read(&change.key, value))?;
            Some(ReadChange { key: change.key.clone(), now })
        });
        self.snapshot_feed.publish(batch.revision, &changes.collect::<Vec<_>>(), &self.snapshot.load());
    }
}
