//! What a client published, as it is stored: one replica fetches it for all, and a restart starts with it.

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::JwksUri;
use crate::authority::registration::NotAJwkSet;
use crate::authority::state::published_jwks::FetchedJwks;
use crate::authority::state::published_jwks::PublishingClient;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The prefix of the records of published JWK Sets in the store. The `client_id` follows.
pub const PUBLISHED: &str = "/published-jwks/";

/// The schema of the records that this version writes.
pub(super) const SCHEMA: u32 = 1;

/// The JSON object in the store.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: u32,
    creation_id: Box<str>,
    jwks_uri: String,
    fetched_at: Timestamp,
    keep_until: Timestamp,
    /// As it was fetched, so that each version reads it by its own rules.
    document: Box<RawValue>,
}

/// Why a stored document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableJwks {
    /// The record cannot be read by this version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
    /// The document is not what a client may publish.
    #[error("{0}")]
    Document(#[from] NotAJwkSet),
    /// The record is larger than a store accepts.
    #[error("the record is larger than {MAX_VALUE_BYTES} bytes")]
    Size,
    /// The key or the URL is none.
    #[error("the record is not that of a client with a jwks_uri")]
    Client,
}

impl FetchedJwks {
    /// The key of a client's record in the store.
    pub fn key(client_id: &str) -> String {
        format!("{PUBLISHED}{client_id}")
    }

    /// Parses the value that is stored at a key, under the rules for a document that is fetched.
    pub fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, UnusableJwks> {
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(UnusableJwks::Size);
        }
        let Stored { schema: _, creation_id, jwks_uri, fetched_at, keep_until, document } = read_record(bytes, SCHEMA)?;
        let client_id = key.strip_prefix(PUBLISHED).and_then(ClientId::parse);
        let (client_id, uri) = client_id.zip(JwksUri::parse(&jwks_uri)).ok_or(UnusableJwks::Client)?;
        let client = PublishingClient { client_id, creation_id, uri };
        let parsed = Self::parse(&client, document.get().as_bytes(), fetched_at, keep_until)?;
        Ok(Self { stored: bytes.into(), ..parsed })
    }

    /// The value to store, with the document that it was parsed from; `None` where it cannot be serialized.
    pub fn to_bytes(&self, document: &[u8]) -> Option<Vec<u8>> {
        let document = RawValue::from_string(String::from_utf8(document.to_vec()).ok()?).ok()?;
        let stored = Stored {
            schema: SCHEMA,
            creation_id: self.creation_id.clone(),
            jwks_uri: self.uri.as_str().to_owned(),
            fetched_at: self.fetched_at,
            keep_until: self.good_until,
            document,
        };
        serde_json::to_vec(&stored).ok()
    }
}
