//! Marks of deleted resources. Without one, a deletion would loosen: the uses of an audience that is not registered are
//! decided by the defaults, and a request could find another resource.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::resources::metadata::ResourceMetadata;

/// The prefix of all keys of deleted resources in the store. The audience follows.
pub const DELETED: &str = "/deleted/";

/// The schema of the records that this version writes.
pub(in crate::authority) const SCHEMA: u32 = 1;

/// The mark of a deleted resource, and its record in the store. The uses of its audience are denied until the audience
/// is registered again, or an admin removes the mark.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeletedResource {
    schema: u32,
    /// Its audience.
    pub audience: String,
    /// The SPIFFE IDs of the workloads that served it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_principals: Vec<String>,
    /// Its hosts, with or without ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// When it was deleted.
    pub delete_time: Timestamp,
    /// The identity that deleted it.
    pub deleted_by: String,
}

impl DeletedResource {
    /// What it named and was about.
    pub(in crate::authority) fn names(&self) -> Vec<String> {
        let named = [&self.audience].into_iter().chain(&self.authorities).chain(&self.destination_principals);
        named.cloned().collect()
    }

    /// The mark of a resource that is deleted now.
    pub fn new(metadata: &ResourceMetadata, now: Timestamp, by: &str) -> Self {
        Self {
            schema: SCHEMA,
            audience: metadata.audience.clone(),
            destination_principals: metadata.destination_principals.clone(),
            authorities: metadata.authorities.clone(),
            delete_time: now,
            deleted_by: by.to_owned(),
        }
    }

    /// A mark of which only the key can be read.
    pub(in crate::authority) fn unreadable(audience: &str) -> Self {
        let metadata = ResourceMetadata { audience: audience.to_owned(), ..ResourceMetadata::default() };
        Self::new(&metadata, Timestamp(0), "")
    }

    /// The key in the store of the mark of an audience.
    pub fn key(audience: &str) -> String {
        format!("{DELETED}{audience}")
    }

    /// Parses the value that is stored for an audience; `None` where this version cannot.
    pub fn from_bytes(audience: &str, bytes: &[u8]) -> Option<Self> {
        let read = serde_json::from_slice::<Self>(bytes).ok();
        read.filter(|record| record.schema == SCHEMA && record.audience == audience)
    }

    /// The value to store; `None` where it cannot be serialized.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}
