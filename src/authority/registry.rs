//! The verbs of the registry: create, get, list, update, delete; and how the snapshot follows the store.

use std::sync::Arc;
use std::sync::PoisonError;

use crate::authority::Authority;
use crate::authority::audit::AuditEvent;
use crate::authority::client_record::CLIENTS;
use crate::authority::client_record::ClientRecord;
use crate::authority::client_record::UnreadableRecord;
use crate::authority::directory::Directory;
use crate::authority::directory::RegisteredClient;
use crate::authority::identity::PeerIdentity;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::InvalidClientMetadata;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::registration::invalid;
use crate::authority::store::Change;
use crate::authority::store::Expected;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;

/// Why a registration could not be made, changed, deleted or found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// The metadata cannot stand.
    #[error(transparent)]
    Invalid(#[from] InvalidClientMetadata),
    /// The `client_id` is taken.
    #[error("a client with this client_id is registered already")]
    Exists,
    /// The SPIFFE ID, or the pattern, is taken.
    #[error("the client '{0}' is registered for the same SPIFFE ID or pattern")]
    IdentityTaken(String),
    /// No such client.
    #[error("no client with this client_id is registered")]
    NotFound,
    /// The `etag` is not the present one.
    #[error("the client has changed since it was read: read it again and repeat the change")]
    Conflict,
    /// Not read from a client: every update names the state that it was made from.
    #[error("etag is missing or malformed: it must be the one that the client was read with")]
    EtagMissing,
    /// The page token is not one of ours.
    #[error("page_token is not one that a list returned")]
    InvalidPageToken,
    /// The record is larger than the store takes.
    #[error("the registration is too large to be stored")]
    TooLarge,
    /// The store does not answer, or chance has run out.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::TooLarge { .. } => Self::TooLarge,
            StoreError::Compacted | StoreError::Unavailable(_) => {
                tracing::error!(%error, "the store failed a registry request");
                Self::Unavailable
            }
        }
    }
}

/// Why the registrations could not be read at start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error("record {key}: {problem}")]
    Record {
        /// Its key in the store.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Authority {
    /// Reads all registrations, and returns the revision to watch the store from. A record that cannot be read is an
    /// error: leaving it out could leave out a disabled one, and let a wider pattern in.
    pub async fn load(&self) -> Result<Revision, LoadError> {
        let listing = self.store.list(CLIENTS).await?;
        let mut directory = Directory::default();
        for (key, entry) in listing.entries {
            let client = read(&key, &entry.value, entry.revision)
                .map_err(|problem| LoadError::Record { key, problem: problem.to_string() })?;
            directory.insert(client);
        }
        directory.caught_up(listing.revision);
        let _writer = self.directory_writer.lock().unwrap_or_else(PoisonError::into_inner);
        directory.overtaken_by(&self.directory.load());
        self.directory.store(Arc::new(directory));
        Ok(listing.revision)
    }

    /// Takes in a change that the store's watch tells of.
    pub fn apply(&self, change: &Change) {
        self.change_directory(|directory| {
            if let Some(name) = change.key.strip_prefix(CLIENTS) {
                match change.value.as_deref().map(|value| read(&change.key, value, change.revision)) {
                    Some(Ok(client)) => directory.insert(client),
                    Some(Err(error)) => {
                        // What it says cannot be known; what it said no longer holds.
                        tracing::error!(%error, key = change.key, "a registration cannot be read; its client is refused");
                        directory.suspend(name, change.revision);
                    }
                    None => directory.remove(name, change.revision),
                }
            }
            directory.caught_up(change.revision);
        });
    }

    /// Registers a client. With `validate_only` nothing is stored.
    pub async fn create_client(
        &self,
        admin: &PeerIdentity,
        metadata: ClientMetadata,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let registration = self.sound(metadata)?;
        let name = registration.client_id.as_str().to_owned();
        if self.directory.load().named(&name).is_some() {
            return Err(RegistryError::Exists);
        }
        let creation_id = self.random_id().map_err(|_| RegistryError::Unavailable)?;
        let by = admin.to_string();
        let record = ClientRecord::new(registration.metadata.clone(), creation_id, self.clock.now(), &by);
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredClient { registration, record, revision: Revision::default() }));
        }
        let written = self.write(registration, record, Expected::Absent).await;
        let client =
            written.map_err(|error| if error == RegistryError::Conflict { RegistryError::Exists } else { error })?;
        AuditEvent::ClientChanged { admin: &by, client_id: &name, change: "created", revision: client.revision }
            .record();
        Ok(client)
    }

    /// The client with this `client_id`.
    pub fn client(&self, client_id: &str) -> Result<Arc<RegisteredClient>, RegistryError> {
        self.directory.load().named(client_id).map(Arc::clone).ok_or(RegistryError::NotFound)
    }

    /// The clients after the one named `after`, `count` at most, in the order of their `client_id`s.
    pub fn clients(&self, after: Option<&str>, count: usize) -> Vec<Arc<RegisteredClient>> {
        self.directory.load().page(after, count)
    }

    /// Replaces the metadata of a client, if its revision is still `from`. Where nothing would change, nothing is written.
    pub async fn update_client(
        &self,
        admin: &PeerIdentity,
        metadata: ClientMetadata,
        from: Revision,
        validate_only: bool,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let registration = self.sound(metadata)?;
        let present = self.client(registration.client_id.as_str())?;
        if present.revision != from {
            return Err(RegistryError::Conflict);
        }
        if present.registration.metadata == registration.metadata {
            return Ok(present);
        }
        let by = admin.to_string();
        let record = present.record.updated(registration.metadata.clone(), self.clock.now(), &by);
        if validate_only {
            encode(&record)?;
            return Ok(Arc::new(RegisteredClient { registration, record, revision: from }));
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
        self.change_directory(|directory| directory.remove(client_id, revision));
        AuditEvent::ClientChanged { admin: &admin.to_string(), client_id, change: "deleted", revision }.record();
        Ok(())
    }

    /// Reads metadata, and holds it against the configuration and the other registrations. Two that are made at the very
    /// same moment can still claim one SPIFFE ID: the directory then takes neither.
    fn sound(&self, metadata: ClientMetadata) -> Result<ClientRegistration, RegistryError> {
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
        if let Some(rival) = self.directory.load().rival(&registration) {
            return Err(RegistryError::IdentityTaken(rival.to_owned()));
        }
        Ok(registration)
    }

    async fn write(
        &self,
        registration: ClientRegistration,
        record: ClientRecord,
        expected: Expected,
    ) -> Result<Arc<RegisteredClient>, RegistryError> {
        let bytes = encode(&record)?;
        let revision = self.store.put(&format!("{CLIENTS}{}", registration.client_id), bytes, expected).await?;
        let client = RegisteredClient { registration, record, revision };
        self.change_directory(|directory| directory.insert(client.clone()));
        Ok(Arc::new(client))
    }

    fn change_directory(&self, change: impl FnOnce(&mut Directory)) {
        // A change made while another thread panicked is whole: it stands in the snapshot or not at all.
        let _writer = self.directory_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut directory = Directory::clone(&self.directory.load());
        change(&mut directory);
        self.directory.store(Arc::new(directory));
    }
}

/// The value to store, if the store takes it.
fn encode(record: &ClientRecord) -> Result<Vec<u8>, RegistryError> {
    let bytes = record.to_bytes().map_err(|_| RegistryError::Unavailable)?;
    if bytes.len() > MAX_VALUE_BYTES { Err(RegistryError::TooLarge) } else { Ok(bytes) }
}

fn read(key: &str, value: &[u8], revision: Revision) -> Result<RegisteredClient, Unusable> {
    let record = ClientRecord::from_bytes(value)?;
    let registration = ClientRegistration::parse(record.metadata.clone())?;
    // Whoever deletes a client deletes its key: one under another key would outlive that.
    if key.strip_prefix(CLIENTS) != Some(registration.client_id.as_str()) {
        return Err(Unusable::Misplaced);
    }
    Ok(RegisteredClient { registration, record, revision })
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Record(#[from] UnreadableRecord),
    #[error(transparent)]
    Metadata(#[from] InvalidClientMetadata),
    #[error("the record is of a client with another client_id")]
    Misplaced,
}
