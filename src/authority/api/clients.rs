//! The verbs of the registry: create, get, list, update, delete.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRecord;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::RegistryError;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::registration::invalid;
use crate::authority::state::Entry;
use crate::authority::store::Expected;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;

impl Authority {
    /// Registers a client. With `validate_only` nothing is stored.
    pub async fn create_client(
        &self,
        admin: &PeerIdentity,
        metadata: ClientMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let registration = self.validate_registration(metadata)?;
        let record = self.new_record(&registration, &admin.to_string())?;
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredClient {
                registration,
                record,
                revision: Revision::default(),
                suspended: false,
            }));
        }
        self.add(registration, record, "created").await
    }

    /// The client with this `client_id`.
    pub fn client(&self, client_id: &str) -> Result<Arc<RegisteredClient>, RegistryError> {
        self.snapshot.load().directory.named(client_id).map(Arc::clone).ok_or(RegistryError::NotFound)
    }

    /// The clients after the one named `after`, `count` at most, in the order of their `client_id`s.
    pub fn clients(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredClient>> {
        self.snapshot.load().directory.page(after, count)
    }

    /// Replaces the metadata of a client, if its revision is still `from`. Where nothing would change, nothing is written,
    /// unless the stored record cannot be read.
    pub async fn update_client(
        &self,
        admin: &PeerIdentity,
        metadata: ClientMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let registration = self.validate_registration(metadata)?;
        let present = self.client(registration.client_id.as_str())?;
        if present.revision != from {
            return Err(RegistryError::Conflict);
        }
        if !present.suspended && present.registration.metadata == registration.metadata {
            return Ok(present);
        }
        let by = admin.to_string();
        let record = present.record.updated(registration.metadata.clone(), self.clock.now(), &by);
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredClient { registration, record, revision: from, suspended: false }));
        }
        let client = self.write(registration, record, Expected::At(from)).await?;
        let client_id = &client.record.metadata.client_id;
        AuditEvent::ClientChanged { admin: &by, client_id, change: "updated", revision: client.revision }.record();
        Ok(client)
    }

    /// Deletes a client, if its revision is still `from`, or whatever it is. Its tokens are refused from then on.
    pub async fn delete_client(
        &self,
        admin: &PeerIdentity,
        client_id: &str,
        from: Option<Revision>,
    ) -> Result<(), RegistryError> {
        let present = self.client(client_id)?;
        let from = from.unwrap_or(present.revision);
        let revision = self.store.delete(&format!("{CLIENTS}{client_id}"), Expected::At(from)).await?;
        self.apply_write(&format!("{CLIENTS}{client_id}"), None, revision);
        AuditEvent::ClientChanged { admin: &admin.to_string(), client_id, change: "deleted", revision }.record();
        Ok(())
    }

    /// Reads metadata, and holds it against the configuration and the other registrations. Two that are made at the very
    /// same moment can still claim one SPIFFE ID: the directory then takes neither.
    pub(in crate::authority) fn validate_registration(
        &self,
        metadata: ClientMetadata,
    ) -> Result<ClientRegistration, RegistryError> {
        let registration = ClientRegistration::parse(metadata)?;
        if !registration.bound && !self.policy.unbound_tokens {
            let problem = "this server issues no unbound tokens: leave it out, or set it to true";
            return Err(invalid("tls_client_certificate_bound_access_tokens", problem).into());
        }
        if let TokenEndpointAuthMethod::TlsClientAuth { client_ca: Some(name), .. } = &registration.method
            && !self.trust.load().client_cas.contains_key(name)
        {
            return Err(invalid("client_ca", "is not the name of a configured client CA").into());
        }
        if let TokenEndpointAuthMethod::PublishedTlsClientAuth(uri) = &registration.method
            && !self.policy.jwks_uri.allowed_hosts.allows(uri)
        {
            return Err(invalid("jwks_uri", "its host is not one of those that this server fetches from").into());
        }
        if let Some(rival) = self.snapshot.load().directory.conflicting_client(&registration) {
            return Err(RegistryError::IdentityTaken(rival.to_owned()));
        }
        Ok(registration)
    }

    /// The record of a client that is not there yet.
    pub(in crate::authority) fn new_record(
        &self,
        registration: &ClientRegistration,
        by: &str,
    ) -> Result<ClientRecord, RegistryError> {
        if self.snapshot.load().directory.named(registration.client_id.as_str()).is_some() {
            return Err(RegistryError::Exists);
        }
        let creation_id = self.random_id().map_err(|_| RegistryError::Unavailable)?;
        Ok(ClientRecord::new(registration.metadata.clone(), creation_id, self.clock.now(), by))
    }

    /// Stores a client that is not there yet; `change` is what the audit trail calls it.
    pub(in crate::authority) async fn add(
        &self,
        registration: ClientRegistration,
        record: ClientRecord,
        change: &'static str,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let written = self.write(registration, record, Expected::Absent).await;
        let client =
            written.map_err(|error| if error == RegistryError::Conflict { RegistryError::Exists } else { error })?;
        let ClientRecord { created_by, metadata, .. } = &client.record;
        let (admin, client_id) = (created_by.as_str(), metadata.client_id.as_str());
        AuditEvent::ClientChanged { admin, client_id, change, revision: client.revision }.record();
        Ok(client)
    }

    async fn write(
        &self,
        registration: ClientRegistration,
        record: ClientRecord,
        expected: Expected,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let bytes = encode(&record)?;
        let key = format!("{CLIENTS}{}", registration.client_id);
        let revision = self.store.put(&key, bytes, expected).await?;
        let client = RegisteredClient { registration, record, revision, suspended: false };
        self.apply_write(&key, Some(Entry::Client(Box::new(client.clone()))), revision);
        Ok(Arc::new(client))
    }
}

/// The value to store, if the store takes it.
fn encode(record: &ClientRecord) -> Result<Vec<u8>, RegistryError> {
    let bytes = record.to_bytes().map_err(|_| RegistryError::Unavailable)?;
    if bytes.len() > MAX_VALUE_BYTES { Err(RegistryError::TooLarge) } else { Ok(bytes) }
}
