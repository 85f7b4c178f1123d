//! Writes a client together with its key in the unique index, in one transaction.

use crate::authority::Authority;
use crate::authority::access::GRANTS;
use crate::authority::records::Kind;
use crate::authority::records::Registration as _;
use crate::authority::records::RegistryError;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::index_claim;
use crate::authority::registration::index_owner;
use crate::authority::registration::may_claim;
use crate::authority::registration::unique_index_key;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// The number of attempts while other writers claim or release the same identity.
const ATTEMPTS: u32 = 8;

impl Authority {
    /// Commits a change of a client's record, from one registration to another, together with the change of the index.
    pub(in crate::authority) async fn transact_client(
        &self,
        client_id: &str,
        (before, after): (Option<&ClientRegistration>, Option<&ClientRegistration>),
        change: Transaction,
    ) -> Result<Revision, RegistryError> {
        let record_key = ClientRegistration::key(client_id);
        let [old, new] = [before, after].map(|registration| registration.and_then(unique_index_key));
        for _ in 0..ATTEMPTS {
            let mut transaction = change.clone();
            if let Some(new) = &new {
                transaction = self.claim(client_id, new, transaction).await?;
            }
            if let Some(old) = old.as_ref().filter(|old| Some(*old) != new.as_ref()) {
                transaction = self.release(client_id, old, transaction).await?;
            }
            match self.store.transact(transaction).await {
                // Another writer has claimed or released the identity since it was read.
                Err(StoreError::Conflict { key }) if key != record_key && !key.starts_with(GRANTS) => {}
                outcome => return outcome.map_err(|error| of_store(&error)),
            }
        }
        tracing::error!(%client_id, "cannot update a client: its index entries keep changing");
        Err(RegistryError::Unavailable)
    }

    /// Adds the claim of an identity, which no other client may hold.
    async fn claim(&self, client_id: &str, key: &str, transaction: Transaction) -> Result<Transaction, RegistryError> {
        let value = index_claim(client_id).ok_or(RegistryError::Unavailable)?;
        let Some(entry) = self.store.get(key).await.map_err(|error| of_store(&error))? else {
            return Ok(transaction.compare(key, Expected::Absent).put(key, value));
        };
        let transaction = transaction.compare(key, Expected::At(entry.revision));
        let owner = index_owner(key, &entry.value)?;
        if owner == client_id {
            return Ok(transaction);
        }
        // A version without the index deletes and changes clients, and leaves their keys in it.
        let owner_key = ClientRegistration::key(&owner);
        let expected = match self.store.get(&owner_key).await.map_err(|error| of_store(&error))? {
            Some(record) if may_claim(&record.value, key) => return Err(RegistryError::IdentityTaken(owner)),
            Some(record) => Expected::At(record.revision),
            None => Expected::Absent,
        };
        Ok(transaction.compare(&owner_key, expected).put(key, value))
    }

    /// Adds the release of an identity. A client that was written by a version without the index has no key in it.
    async fn release(
        &self,
        client_id: &str,
        key: &str,
        transaction: Transaction,
    ) -> Result<Transaction, RegistryError> {
        match self.store.get(key).await.map_err(|error| of_store(&error))? {
            Some(entry) if index_owner(key, &entry.value)? == client_id => {
                Ok(transaction.compare(key, Expected::At(entry.revision)).delete(key))
            }
            Some(_) | None => Ok(transaction),
        }
    }
}

fn of_store(error: &StoreError) -> RegistryError {
    RegistryError::of_store(Kind::Client, error)
}
