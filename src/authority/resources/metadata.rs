//! A protected resource as operators write it and as it is stored, before anything is made of it.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The prefix of all keys of protected resources in the store; the audience follows.
pub const RESOURCES: &str = "/resources/";

/// A protected resource as operators write it: what is stored, and what is shown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceMetadata {
    /// The resource indicator (RFC 8707), which is its name.
    pub audience: String,
    /// The scopes that it defines, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What requests need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteMetadata>,
    /// `spiffe_id`, `thumbprint` or `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_evidence: Option<String>,
    /// Where the evidence comes from, if not from the immediate peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_from: Option<Gateways>,
    /// Names of trust domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
    /// `enforce` or `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether a denial that is let through is said in a response header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_header: bool,
    /// Whether the token is taken out of requests that are let through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_authorization: bool,
    /// SPIFFE IDs of the workloads that serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_principals: Vec<String>,
    /// Hosts, with or without ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A route as it is written.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMetadata {
    /// HTTP methods; none stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A path template.
    pub path: String,
    /// The scopes needed, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Whether no token is needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// The gateways in front of a proxy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gateways {
    /// Their SPIFFE IDs.
    pub via: Vec<String>,
}

/// A field of a resource that cannot stand, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidResource {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

pub(in crate::authority) fn invalid(field: &'static str, problem: &str) -> InvalidResource {
    InvalidResource { field, problem: problem.to_owned() }
}

/// One protected resource in the store: JSON that an operator can read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRecord {
    schema: u32,
    /// What is registered.
    pub metadata: ResourceMetadata,
    /// When it was registered.
    pub create_time: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// By whom.
    pub updated_by: String,
}

impl ResourceRecord {
    /// A new resource.
    pub fn new(metadata: ResourceMetadata, now: Timestamp, by: &str) -> Self {
        let by = by.to_owned();
        Self { schema: SCHEMA, metadata, create_time: now, created_by: by.clone(), update_time: now, updated_by: by }
    }

    /// The same resource with other metadata.
    #[must_use]
    pub fn updated(&self, metadata: ResourceMetadata, now: Timestamp, by: &str) -> Self {
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
