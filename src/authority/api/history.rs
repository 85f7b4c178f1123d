//! The history of registrations: what is kept of each change, and what it changed.

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::api::registry::Managed;
use crate::authority::clock::Timestamp;
use crate::authority::records::ChangeRecord;
use crate::authority::records::MAX_CHANGES;
use crate::authority::records::RegistrationChange;
use crate::authority::records::RegistryError;
use crate::authority::records::change_key;
use crate::authority::records::change_number;
use crate::authority::records::digest_of;
use crate::authority::records::history_of;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::store::Listing;
use crate::authority::store::Transaction;

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

impl Authority {
    /// The changes of a client that are kept, the oldest first.
    pub async fn client_history(
        &self,
        client_id: &str,
    ) -> Result<Vec<RegistrationChange<ClientMetadata>>, RegistryError> {
        self.history::<ClientRegistration>(client_id).await
    }

    /// The changes of a protected resource that are kept, the oldest first.
    pub async fn resource_history(
        &self,
        audience: &str,
    ) -> Result<Vec<RegistrationChange<ResourceMetadata>>, RegistryError> {
        self.history::<ProtectedResource>(audience).await
    }

    pub(in crate::authority::api) async fn history<T: Managed>(
        &self,
        name: &str,
    ) -> Result<Vec<RegistrationChange<T::Metadata>>, RegistryError> {
        let prefix = history_of(&T::key(name));
        let listing = self.store.list(&prefix).await;
        let Listing { entries, .. } = listing.map_err(|error| RegistryError::of_store(T::KIND, &error))?;
        let present = self.named::<T>(name);
        if entries.is_empty() {
            // A name that never was is an error, and one of which nothing is kept is none.
            return present.map(|_| Vec::new());
        }
        let mut changes: Vec<RegistrationChange<T::Metadata>> = Vec::new();
        let mut made: Option<String> = None;
        for (key, stored) in entries {
            let record = ChangeRecord::from_bytes(&stored.value).map_err(|error| {
                tracing::error!(%error, key, "a change of a registration cannot be read");
                RegistryError::Unavailable
            })?;
            let before: Option<T::Metadata> = record.before.and_then(|before| serde_json::from_value(before).ok());
            // What one change replaced is what the one before it made, unless something in between was not kept.
            if let Some(last) = changes.last_mut()
                && before.as_ref().and_then(digest_of) == made
            {
                last.after.clone_from(&before);
            }
            made = record.made;
            changes.push(RegistrationChange {
                change: record.change,
                time: record.time,
                by: record.by,
                reason: record.reason,
                number: change_number(&prefix, &key).unwrap_or_default(),
                before,
                after: None,
            });
        }
        if let (Some(last), Ok(present)) = (changes.last_mut(), present)
            && digest_of(&present.registration.metadata()) == made
        {
            last.after = Some(present.registration.metadata().into_owned());
        }
        Ok(changes)
    }

    /// Adds what is kept of a change to its transaction.
    pub(in crate::authority::api) async fn with_history<T: Managed>(
        &self,
        name: &str,
        author: ChangedBy<'_>,
        change: &ChangeRecord,
        transaction: Transaction,
    ) -> Result<Transaction, RegistryError> {
        if self.policy.history.is_zero() || !author.is_kept {
            return Ok(transaction);
        }
        let prefix = history_of(&T::key(name));
        let kept = self.store.key_revisions(&prefix, 2 * MAX_CHANGES).await;
        let kept = kept.map_err(|error| RegistryError::of_store(T::KIND, &error))?.keys.into_iter();
        let kept: Vec<String> = kept.map(|(key, _)| key).take_while(|key| key.starts_with(&prefix)).collect();
        let last = kept.last().and_then(|key| change_number(&prefix, key));
        let mut suffix = [0; 4];
        self.entropy.fill(&mut suffix).map_err(|_| RegistryError::Unavailable)?;
        let key = change_key(&prefix, last.unwrap_or_default().saturating_add(1), &hex::encode(suffix));
        let value = change.to_bytes().map_err(|_| RegistryError::Unavailable)?;
        let expires = self.clock.now().after(self.policy.history);
        // To the end of a day: in etcd the records of a day then have few leases.
        let expires = Timestamp(expires.0.next_multiple_of(DAY));
        let transaction = transaction.put_until(&key, value, expires);
        let too_many = (kept.len() + 1).saturating_sub(MAX_CHANGES);
        Ok(kept.iter().take(too_many).fold(transaction, |transaction, key| transaction.delete(key)))
    }
}
