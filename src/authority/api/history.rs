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

    async fn history<T: Managed>(&self, name: &str) -> Result<Vec<RegistrationChange<T::Metadata>>, RegistryError> {
        let Listing { entries, .. } = self.kept_changes::<T>(name).await?;
        let present = self.named::<T>(name);
        if entries.is_empty() {
            // A name that never was is an error, and one of which nothing is kept is none.
            return present.map(|_| Vec::new());
        }
        let prefix = history_of(&T::key(name));
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
        let Listing { entries, .. } = self.kept_changes::<T>(name).await?;
        let prefix = history_of(&T::key(name));
        let last = entries.last().and_then(|(key, _)| change_number(&prefix, key));
        let mut suffix = [0; 4];
        self.entropy.fill(&mut suffix).map_err(|_| RegistryError::Unavailable)?;
        let key = change_key(&prefix, last.unwrap_or_default().saturating_add(1), &hex::encode(suffix));
        let value = change.to_bytes().map_err(|_| RegistryError::Unavailable)?;
        let expires = self.clock.now().after(self.policy.history);
        // To the end of a day: in etcd the records of a day then have few leases.
        let expires = Timestamp(expires.0.next_multiple_of(DAY));
        let transaction = transaction.put_until(&key, value, expires);
        let too_many = (entries.len() + 1).saturating_sub(MAX_CHANGES);
        Ok(entries.iter().take(too_many).fold(transaction, |transaction, (key, _)| transaction.delete(key)))
    }

    /// What the store has of the changes of a registration, in the order in which they were made.
    async fn kept_changes<T: Managed>(&self, name: &str) -> Result<Listing, RegistryError> {
        let listing = self.store.list(&history_of(&T::key(name))).await;
        listing.map_err(|error| RegistryError::of_store(T::KIND, &error))
    }
}
