//! The history of registrations, signing keys and revocations: what is kept of each change, and what it changed.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::api::registry::Managed;
use crate::authority::keys::KEYS;
use crate::authority::records::ChangeRecord;
use crate::authority::records::RegistrationChange;
use crate::authority::records::RegistryError;
use crate::authority::records::change_number;
use crate::authority::records::digest_of;
use crate::authority::records::history_of;
use crate::authority::records::kept_with;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::store::Listing;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;
use crate::authority::store::Versioned;

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
        changes_of(&prefix, entries, present.ok().map(|present| present.registration.metadata().into_owned()))
    }

    /// The changes of a signing key that are kept, the oldest first: from which state to which. Nobody made one where a
    /// schedule did.
    pub async fn signing_key_history(&self, kid: &str) -> Result<Vec<RegistrationChange<String>>, RegistryError> {
        let present = self.keys().named(kid).map(|(key, _)| key.stage().label().to_owned());
        self.history_of_key(&format!("{KEYS}{kid}"), present).await
    }

    /// The liftings of a revocation that are kept, the oldest first: what each lifted, as JSON.
    pub async fn revocation_history(
        &self,
        revoked: &Revoked,
    ) -> Result<Vec<RegistrationChange<RevocationRecord>>, RegistryError> {
        self.history_of_key(&revoked.store_key(), None).await
    }

    async fn history_of_key<M: Clone + DeserializeOwned + Serialize>(
        &self,
        key: &str,
        present: Option<M>,
    ) -> Result<Vec<RegistrationChange<M>>, RegistryError> {
        let prefix = history_of(key);
        let listing = self.store.list(&prefix).await.map_err(|error| {
            tracing::error!(%error, key, "the changes of a record cannot be read");
            RegistryError::Unavailable
        })?;
        changes_of(&prefix, listing.entries, present)
    }

    /// Adds what is kept of a change to its transaction.
    pub(in crate::authority::api) async fn with_history<T: Managed>(
        &self,
        name: &str,
        author: ChangedBy<'_>,
        change: &ChangeRecord,
        transaction: Transaction,
    ) -> Result<Transaction, RegistryError> {
        if !author.is_kept {
            return Ok(transaction);
        }
        let change = change.clone().approved_by(author.approver());
        let transaction = self.with_change(&T::key(name), &change, transaction).await;
        transaction.map_err(|error| RegistryError::of_store(T::KIND, &error))
    }

    /// The same for the record at any key.
    pub(in crate::authority::api) async fn with_change(
        &self,
        key: &str,
        change: &ChangeRecord,
        transaction: Transaction,
    ) -> Result<Transaction, StoreError> {
        if self.policy.history.is_zero() {
            return Ok(transaction);
        }
        let mut random = [0; 4];
        self.entropy.fill(&mut random).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let until = self.clock.now().after(self.policy.history);
        kept_with(&*self.store, (key, change), (until, random), transaction).await
    }
}

/// The changes that these entries are, with the present state of what changed.
fn changes_of<M: Clone + DeserializeOwned + Serialize>(
    prefix: &str,
    entries: Vec<(String, Versioned<Arc<[u8]>>)>,
    present: Option<M>,
) -> Result<Vec<RegistrationChange<M>>, RegistryError> {
    let mut changes: Vec<RegistrationChange<M>> = Vec::new();
    let mut made: Option<String> = None;
    for (key, stored) in entries {
        let record = ChangeRecord::from_bytes(&stored.value).map_err(|error| {
            tracing::error!(%error, key, "a change of a record cannot be read");
            RegistryError::Unavailable
        })?;
        let before: Option<M> = record.before.and_then(|before| serde_json::from_value(before).ok());
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
            approved_by: record.approved_by,
            reason: record.reason,
            number: change_number(prefix, &key).unwrap_or_default(),
            before,
            after: None,
        });
    }
    if let (Some(last), Some(present)) = (changes.last_mut(), present)
        && digest_of(&present) == made
    {
        last.after = Some(present);
    }
    Ok(changes)
}
