//! What at most one client may have: a SPIFFE ID, or a pattern of them. Each has a key of its own in the store, which is
//! written in the transaction that writes the client, so that of two claims one wins, wherever they are made.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::Authority;
use crate::authority::client_record::CLIENTS;
use crate::authority::client_record::ClientRecord;
use crate::authority::record;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::SpiffeIdPattern;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::registry::RegistryError;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// The prefix of all keys of the index in the store. No snapshot is made from them: they say nothing that the records do not.
pub const INDEX: &str = "/index/";

/// The prefix of those of SPIFFE IDs and patterns, which follow as they are registered.
const SPIFFE: &str = "/index/spiffe/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// How often a change is tried while others claim the same identity or give it up.
const ATTEMPTS: u32 = 8;

/// Who has what a key of the index is for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IndexRecord {
    schema: u32,
    client_id: String,
}

/// The key of the index that a registration claims, if it claims one.
pub fn key_of(registration: &ClientRegistration) -> Option<String> {
    let claimed = match &registration.method {
        TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Exact(id)) => id.to_string(),
        TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Below(prefix)) => format!("{prefix}*"),
        TokenEndpointAuthMethod::TlsClientAuth { .. }
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => registration.client_id.spiffe_id()?.to_string(),
    };
    Some(format!("{SPIFFE}{claimed}"))
}

impl Authority {
    /// Makes a change of a client's record at `key`, from one registration to another, with that of the index.
    pub(in crate::authority) async fn transact_client(
        &self,
        client_id: &ClientId,
        (before, after): (Option<&ClientRegistration>, Option<&ClientRegistration>),
        change: Transaction,
    ) -> Result<Revision, RegistryError> {
        let record_key = format!("{CLIENTS}{client_id}");
        let [old, new] = [before, after].map(|registration| registration.and_then(key_of));
        for _ in 0..ATTEMPTS {
            let mut transaction = change.clone();
            if let Some(new) = &new {
                transaction = self.claim(client_id, new, transaction).await?;
            }
            if let Some(old) = old.as_ref().filter(|old| Some(*old) != new.as_ref()) {
                transaction = self.release(client_id, old, transaction).await?;
            }
            match self.store.transact(transaction).await {
                // Somebody else claimed it, or gave it up, since it was looked at.
                Err(StoreError::Conflict { key }) if key != record_key => {}
                outcome => return Ok(outcome?),
            }
        }
        tracing::error!(%client_id, "the index of clients did not stand still for a change");
        Err(RegistryError::Unavailable)
    }

    /// Adds the claim of an identity, which nobody else must have.
    async fn claim(
        &self,
        client_id: &ClientId,
        key: &str,
        transaction: Transaction,
    ) -> Result<Transaction, RegistryError> {
        let value = IndexRecord { schema: SCHEMA, client_id: client_id.as_str().to_owned() };
        let value = serde_json::to_vec(&value).map_err(|_| RegistryError::Unavailable)?;
        let Some(entry) = self.store.get(key).await? else {
            return Ok(transaction.expect(key, Expected::Absent).put(key, value));
        };
        let transaction = transaction.expect(key, Expected::At(entry.revision));
        let owner = owner(key, &entry.value)?;
        if owner == client_id.as_str() {
            return Ok(transaction);
        }
        // A version without the index deletes and changes clients and leaves their keys in it.
        let owner_key = format!("{CLIENTS}{owner}");
        let expected = match self.store.get(&owner_key).await? {
            Some(record) if may_claim(&record.value, key) => return Err(RegistryError::IdentityTaken(owner)),
            Some(record) => Expected::At(record.revision),
            None => Expected::Absent,
        };
        Ok(transaction.expect(&owner_key, expected).put(key, value))
    }

    /// Adds that an identity is given up. What a version without the index wrote has no key in it.
    async fn release(
        &self,
        client_id: &ClientId,
        key: &str,
        transaction: Transaction,
    ) -> Result<Transaction, RegistryError> {
        match self.store.get(key).await? {
            Some(entry) if owner(key, &entry.value)? == client_id.as_str() => {
                Ok(transaction.expect(key, Expected::At(entry.revision)).delete(key))
            }
            Some(_) | None => Ok(transaction),
        }
    }
}

/// Who has what a key of the index is for.
fn owner(key: &str, value: &[u8]) -> Result<String, RegistryError> {
    let read = record::read::<IndexRecord>(value, SCHEMA).map_err(|error| {
        tracing::error!(%error, key, "a record of the index cannot be read");
        RegistryError::Unavailable
    })?;
    Ok(read.client_id)
}

/// Whether a stored client claims a key of the index. What this version cannot read may.
fn may_claim(client: &[u8], key: &str) -> bool {
    let Ok(record) = ClientRecord::from_bytes(client) else { return true };
    ClientRegistration::parse(record.metadata)
        .map_or(true, |registration| key_of(&registration).as_deref() == Some(key))
}
