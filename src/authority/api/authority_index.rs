//! Writes a resource so that no two resources get an authority that they may not share.
//!
//! Whether two may share one depends on both, so it is not a key of the store that decides but the records themselves.
//! The index has a key for each group of authorities. It is written in the transaction of each resource that claims one
//! of the group, and compared with what it was before the records were looked at: of two claims at once, in any process,
//! one fails and looks again. A group rather than an authority has a key, since a transaction has a limit of operations.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::Authority;
use crate::authority::records::Kind;
use crate::authority::records::Registered;
use crate::authority::records::RegistryError;
use crate::authority::records::Suspended;
use crate::authority::records::UnusableRecord;
use crate::authority::resources::AUTHORITY_INDEX;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::contested;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::UnreadableRecord;

/// The number of groups.
const GROUPS: u8 = 32;

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The number of attempts while other writers claim authorities of the same groups.
const ATTEMPTS: u32 = 8;

/// The value of an index key. Only its revision counts.
#[derive(Serialize)]
struct IndexRecord {
    schema: u32,
}

impl Authority {
    /// Commits a change of a resource's record, from one resource to another, together with the change of the index.
    pub(in crate::authority::api) async fn transact_resource(
        &self,
        (before, after): (Option<&ProtectedResource>, Option<&ProtectedResource>),
        change: Transaction,
    ) -> Result<Revision, RegistryError> {
        let groups = claimed_groups(before, after);
        let value = serde_json::to_vec(&IndexRecord { schema: SCHEMA }).map_err(|_| RegistryError::Unavailable)?;
        for _ in 0..ATTEMPTS {
            let (mut transaction, mut claimed_at) = (change.clone(), Revision::default());
            for key in &groups {
                let entry = self.store.get(key).await.map_err(|error| of_store(&error))?;
                let expected = entry.map_or(Expected::Absent, |entry| {
                    claimed_at = claimed_at.max(entry.revision);
                    Expected::At(entry.revision)
                });
                transaction = transaction.compare(key, expected).put(key, value.clone());
            }
            if let Some(after) = after.filter(|_| !groups.is_empty()) {
                self.check_authorities(before, after, claimed_at).await?;
            }
            match self.store.transact(transaction).await {
                // Another writer has claimed an authority of the same group since the records were looked at.
                Err(StoreError::Conflict { key }) if groups.contains(&key) => {}
                outcome => return outcome.map_err(|error| of_store(&error)),
            }
        }
        tracing::error!("cannot write a resource: the authorities of its groups keep changing");
        Err(RegistryError::Unavailable)
    }

    /// Refuses a resource that would share an authority that it may not share with one that was written until
    /// `claimed_at`.
    async fn check_authorities(
        &self,
        before: Option<&ProtectedResource>,
        after: &ProtectedResource,
        claimed_at: Revision,
    ) -> Result<(), RegistryError> {
        let snapshot = self.snapshot.load_full();
        if snapshot.reached() >= claimed_at {
            return snapshot
                .resources
                .contested(&after.metadata)
                .map_or(Ok(()), |(audience, authority)| Err(authority_taken(audience, authority)));
        }
        // The snapshot may not have seen the last claim yet.
        let before = before.map(|before| &before.metadata);
        for (key, stored) in self.store.list(RESOURCES).await.map_err(|error| of_store(&error))?.entries {
            let other = match Registered::<ProtectedResource>::parse(&stored.value) {
                Ok(other) => other,
                Err(UnusableRecord::Unreadable(UnreadableRecord::TooNew(too_new)))
                    if Registered::<ProtectedResource>::says_its_names(&stored.value) =>
                {
                    let (name, why) = (key.trim_start_matches(RESOURCES), Suspended::TooNew(too_new));
                    let outline = Registered::<ProtectedResource>::outline(name, &stored.value, stored.revision, why);
                    outline.ok_or(RegistryError::Unavailable)?.registration
                }
                Err(error) => {
                    tracing::error!(%error, key, "a record cannot be read");
                    return Err(RegistryError::Unavailable);
                }
            };
            if let Some(authority) = contested(&after.metadata, before, &other.metadata) {
                return Err(authority_taken(other.audience(), authority));
            }
        }
        Ok(())
    }
}

pub(in crate::authority::api) fn authority_taken(audience: &str, authority: &str) -> RegistryError {
    RegistryError::AuthorityTaken { audience: audience.to_owned(), authority: authority.to_owned() }
}

/// The index keys of the authorities that a change claims: those of the new resource, unless neither they nor its
/// destination principals change.
fn claimed_groups(before: Option<&ProtectedResource>, after: Option<&ProtectedResource>) -> BTreeSet<String> {
    let place = |resource: &ProtectedResource| {
        (resource.metadata.authorities.clone(), resource.metadata.destination_principals.clone())
    };
    match after {
        Some(after) if before.map(place) != Some(place(after)) => {
            after.metadata.authorities.iter().map(|authority| group_key(authority)).collect()
        }
        Some(_) | None => BTreeSet::new(),
    }
}

fn group_key(authority: &str) -> String {
    let first = Sha256::digest(authority).first().copied().unwrap_or_default();
    format!("{AUTHORITY_INDEX}{:02x}", first % GROUPS)
}

fn of_store(error: &StoreError) -> RegistryError {
    RegistryError::of_store(Kind::Resource, error)
}
