//! Features whose records earlier versions cannot read. Such records are written only once an admin has enabled the feature,
//! so that the earlier version can be run again until then.

use imbl::OrdMap;
use serde::Deserialize;
use serde::Serialize;
use strum::VariantArray as _;

use crate::authority::access::GRANT_SCHEMA;
use crate::authority::access::GRANTS;
use crate::authority::clock::Timestamp;
use crate::authority::keys::RECEIPT_KEY_SCHEMA;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::records::Held;
use crate::authority::records::OldReplica;
use crate::authority::records::PROPOSAL_SCHEMA;
use crate::authority::records::PROPOSALS;
use crate::authority::registration::CLIENT_BY_ISSUER;
use crate::authority::registration::CLIENT_WITH_EXCHANGE;
use crate::authority::registration::CLIENT_WITH_MANAGER;
use crate::authority::registration::CLIENTS;
use crate::authority::resources::RESOURCE_WITH_EXCHANGE;
use crate::authority::resources::RESOURCE_WITH_MANAGER;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::WITH_RECORDING;
use crate::authority::resources::WITH_STALENESS;
use crate::authority::state::replicas::Heartbeat;
use crate::authority::state::replicas::Replicas;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The prefix of the records of enabled features in the store. The name of the feature follows.
pub const FEATURES: &str = "/features/";

/// The schema of the records that this version writes.
pub(super) const SCHEMA: u32 = 1;

/// A feature that writes records of a newer schema.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Feature {
    /// `max_staleness` of protected resources.
    ResourceMaxStaleness,
    /// `record_allowed` of protected resources.
    ResourceRecordAllowed,
    /// Grants to the admins of teams.
    TeamGrants,
    /// `managed_by` of clients and protected resources.
    ManagedBy,
    /// What clients and protected resources say about token exchange.
    Exchange,
    /// Clients by `issuer_jwt`.
    IssuerJwt,
    /// Changes that wait for a second admin.
    DualControl,
}

impl Feature {
    /// The feature of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::VARIANTS.iter().copied().find(|feature| feature.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What it permits, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::ResourceMaxStaleness => "resources may have a max_staleness of their own",
            Self::ResourceRecordAllowed => "resources may have what is allowed recorded one by one",
            Self::ManagedBy => "clients and resources may say what manages them",
            Self::Exchange => "clients and resources may say who acts for whom",
            Self::IssuerJwt => "clients may authenticate by JWTs of trusted issuers",
            Self::DualControl => "changes may wait for a second admin",
            Self::TeamGrants => "teams' admins may be granted to register what is theirs",
        }
    }

    /// The records that it writes, by the prefix of their keys, and their schema.
    pub fn writes(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::ResourceMaxStaleness => &[(RESOURCES, WITH_STALENESS)],
            Self::ResourceRecordAllowed => &[(RESOURCES, WITH_RECORDING)],
            Self::TeamGrants => &[(GRANTS, GRANT_SCHEMA)],
            Self::ManagedBy => &[(CLIENTS, CLIENT_WITH_MANAGER), (RESOURCES, RESOURCE_WITH_MANAGER)],
            Self::Exchange => &[
                (CLIENTS, CLIENT_WITH_EXCHANGE),
                (RESOURCES, RESOURCE_WITH_EXCHANGE),
                (RECEIPT_KEYS, RECEIPT_KEY_SCHEMA),
            ],
            Self::IssuerJwt => &[(CLIENTS, CLIENT_BY_ISSUER)],
            Self::DualControl => &[(PROPOSALS, PROPOSAL_SCHEMA)],
        }
    }

    /// A replica that does not say that it reads what the feature writes, if there is one.
    pub fn not_read_by(self, replicas: &Replicas) -> Option<OldReplica> {
        let reads = |heartbeat: &Heartbeat| {
            let is_read =
                |(prefix, schema): &(&str, u32)| heartbeat.reads.get(*prefix).is_some_and(|reads| reads >= schema);
            self.writes().iter().all(is_read)
        };
        let (replica, heartbeat, _) = replicas.all().find(|(_, heartbeat, _)| !reads(heartbeat))?;
        Some(OldReplica { replica: replica.to_owned(), version: heartbeat.version.clone() })
    }

    /// The key of its record in the store.
    pub fn key(self) -> String {
        format!("{FEATURES}{}", self.name())
    }
}

/// Why a feature was not enabled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// This version has no feature of that name.
    #[error("this version has no feature of that name")]
    NotFound,
    /// A replica that runs cannot read what the feature writes.
    #[error("{0}")]
    ReplicaTooOld(OldReplica),
    /// A second admin has to approve it.
    #[error(transparent)]
    Held(Held),
    /// The store does not answer.
    #[error("the store is unavailable")]
    Unavailable,
}

impl FeatureError {
    /// The fixed code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "FEATURE_NOT_FOUND",
            Self::ReplicaTooOld(_) => OldReplica::CODE,
            Self::Held(held) => held.code(),
            Self::Unavailable => "STORE_UNAVAILABLE",
        }
    }
}

/// The record of an enabled feature. Unknown members are ignored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FeatureRecord {
    schema: u32,
    /// When it was enabled.
    pub enable_time: Timestamp,
    /// The identity that enabled it; empty where the store was made with it.
    pub enabled_by: String,
}

impl FeatureRecord {
    /// A feature that is enabled now.
    pub fn new(now: Timestamp, by: &str) -> Self {
        Self { schema: SCHEMA, enable_time: now, enabled_by: by.to_owned() }
    }

    /// Parses a stored value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        read_record(bytes, SCHEMA)
    }

    /// The value to store; `None` where it cannot be serialized.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}

/// The features that are enabled, those of later versions too.
#[derive(Clone, Debug, Default)]
pub struct Features(OrdMap<String, (FeatureRecord, Revision)>);

impl Features {
    /// The record of a feature; `None` where it is not enabled.
    pub fn record_of(&self, name: &str) -> Option<&FeatureRecord> {
        self.0.get(name).map(|(record, _)| record)
    }

    /// Whether a feature is enabled.
    pub fn is_enabled(&self, feature: Feature) -> bool {
        self.0.contains_key(feature.name())
    }

    /// All that are enabled, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &FeatureRecord, Revision)> {
        self.0.iter().map(|(name, (record, revision))| (name.as_str(), record, *revision))
    }

    pub(super) fn revision_of(&self, name: &str) -> Option<Revision> {
        self.0.get(name).map(|(_, revision)| *revision)
    }

    pub(super) fn insert(&mut self, name: &str, record: FeatureRecord, revision: Revision) {
        self.0.insert(name.to_owned(), (record, revision));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}
