//! A registration as it is stored: JSON that an operator can read.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// What is kept of a dynamic registration beside the client itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicRegistration {
    /// Who may read, change and delete it: the one who made it.
    pub(in crate::authority) registrant: String,
    /// SHA-256 of the registration access token, base64url. The token itself is not kept.
    pub(in crate::authority) access_token_hash: String,
    /// Whether a workload registered itself, so that it never has more than an operator registered for it.
    pub own_identity: bool,
}

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The prefix of all keys of clients in the store.
pub const CLIENTS: &str = "/clients/";

/// One client in the store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    schema: u32,
    /// Random, made when the client is registered and kept while it is: tokens carry it, so that registering a deleted
    /// client again revives none of its tokens.
    pub creation_id: String,
    /// What is registered.
    pub metadata: ClientMetadata,
    /// When it was registered.
    pub create_time: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// By whom.
    pub updated_by: String,
    /// Where it was registered over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<DynamicRegistration>,
}

impl ClientRecord {
    /// A new client.
    pub fn new(metadata: ClientMetadata, creation_id: String, now: Timestamp, by: &str) -> Self {
        let (create_time, created_by) = (now, by.to_owned());
        Self {
            schema: SCHEMA,
            creation_id,
            metadata,
            create_time,
            created_by,
            update_time: now,
            updated_by: by.to_owned(),
            dynamic: None,
        }
    }

    /// The same client, registered over HTTP.
    #[must_use]
    pub fn registered_dynamically(self, dynamic: DynamicRegistration) -> Self {
        Self { dynamic: Some(dynamic), ..self }
    }

    /// The same client with other metadata.
    #[must_use]
    pub fn updated(&self, metadata: ClientMetadata, now: Timestamp, by: &str) -> Self {
        Self { metadata, update_time: now, updated_by: by.to_owned(), ..self.clone() }
    }

    /// Reads a stored value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        read_record(bytes, SCHEMA)
    }

    /// The value to store.
    pub fn to_bytes(&self) -> Result<Vec<u8>, UnreadableRecord> {
        Ok(serde_json::to_vec(self)?)
    }
}
