//! The parsed records of the store.

use std::sync::Arc;

use crate::authority::access::GRANTS;
use crate::authority::access::RegisteredGrant;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyRecordError;
use crate::authority::keys::KeySealer;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::keys::ReceiptKey;
use crate::authority::keys::StoredKey;
use crate::authority::records::Registered;
use crate::authority::records::UnusableRecord;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::DELETED;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::RegisteredResource;
use crate::authority::state::features::FEATURES;
use crate::authority::state::features::FeatureRecord;
use crate::authority::state::fetched_bundles::FETCHED_BUNDLES;
use crate::authority::state::fetched_bundles::FetchedBundle;
use crate::authority::state::fetched_bundles::UnusableBundle;
use crate::authority::state::lineages;
use crate::authority::state::lineages::LINEAGES;
use crate::authority::state::lineages::LineageRecord;
use crate::authority::state::published_jwks::FetchedJwks;
use crate::authority::state::published_record::PUBLISHED;
use crate::authority::state::published_record::UnusableJwks;
use crate::authority::state::replicas::Heartbeat;
use crate::authority::state::replicas::REPLICAS;
use crate::authority::state::revoked::REVOCATIONS;
use crate::authority::state::revoked::RevocationRecord;
use crate::authority::state::revoked::Revoked;
use crate::authority::state::schemas::ROLES;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;

/// The parsed record at a key of the store.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A client.
    Client(Box<RegisteredClient>),
    /// A protected resource.
    Resource(Box<RegisteredResource>),
    /// The mark of a deleted resource.
    Deleted(Box<DeletedResource>),
    /// A revocation.
    Revocation(RevocationRecord),
    /// The successor of a certificate.
    Lineage(LineageRecord),
    /// A signing key, opened unless it is revoked.
    SigningKey(StoredKey),
    /// A receipt key.
    ReceiptKey(Box<ReceiptKey>),
    /// A replica's heartbeat.
    Heartbeat(Heartbeat),
    /// An enabled feature.
    Feature(FeatureRecord),
    /// A grant to the admins of a team.
    Grant(Box<RegisteredGrant>),
    /// What a client published at its `jwks_uri`.
    PublishedJwks(Arc<FetchedJwks>),
    /// The bundle of another trust domain.
    FetchedBundle(Arc<FetchedBundle>),
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A registration.
    #[error(transparent)]
    Registration(#[from] UnusableRecord),
    /// The signing key.
    #[error(transparent)]
    SigningKey(#[from] KeyRecordError),
    /// A receipt key.
    #[error(transparent)]
    ReceiptKey(KeyRecordError),
    /// The mark of a deleted resource, or its key.
    #[error("the record is not the mark of a deleted resource as this version writes them")]
    Deleted,
    /// A revocation, or its key.
    #[error("the record is not a revocation as this version writes them")]
    Revocation,
    /// A succession, or its key.
    #[error("the record is not a succession of certificates as this version writes them")]
    Lineage,
    /// A heartbeat.
    #[error("the record is not a heartbeat of a replica")]
    Heartbeat,
    /// An enabled feature.
    #[error(transparent)]
    Feature(UnreadableRecord),
    /// What a client published at its `jwks_uri`.
    #[error(transparent)]
    PublishedJwks(UnusableJwks),
    /// The bundle of another trust domain.
    #[error(transparent)]
    FetchedBundle(UnusableBundle),
    /// A grant of a role, which this version does not keep in the store.
    #[error("this version reads no roles from the store")]
    Role,
}

impl Entry {
    /// Reads the value at a key; `None` for a key that no snapshot holds.
    pub fn read(key: &str, value: &[u8], revision: Revision, sealer: &KeySealer) -> Result<Option<Self>, Unusable> {
        if key.starts_with(KEYS) {
            return Ok(Some(Self::SigningKey(sealer.open(key, value)?)));
        }
        if key.starts_with(RECEIPT_KEYS) {
            let opened = sealer.open_receipt_key(key, value).map_err(Unusable::ReceiptKey)?;
            return Ok(Some(Self::ReceiptKey(Box::new(opened))));
        }
        if let Some(name) = key.strip_prefix(CLIENTS) {
            return Ok(Some(Self::Client(Box::new(Registered::read(name, value, revision)?))));
        }
        if let Some(audience) = key.strip_prefix(RESOURCES) {
            return Ok(Some(Self::Resource(Box::new(Registered::read(audience, value, revision)?))));
        }
        if let Some(name) = key.strip_prefix(GRANTS) {
            return Ok(Some(Self::Grant(Box::new(Registered::read(name, value, revision)?))));
        }
        if let Some(audience) = key.strip_prefix(DELETED) {
            let mark = DeletedResource::from_bytes(audience, value).ok_or(Unusable::Deleted)?;
            return Ok(Some(Self::Deleted(Box::new(mark))));
        }
        if key.starts_with(LINEAGES) {
            let record = lineages::predecessor(key).and_then(|_| LineageRecord::from_bytes(value));
            return record.map(|record| Some(Self::Lineage(record))).ok_or(Unusable::Lineage);
        }
        if key.starts_with(REVOCATIONS) {
            let record = Revoked::from_store_key(key).and_then(|_| RevocationRecord::from_bytes(value));
            return record.map(|record| Some(Self::Revocation(record))).ok_or(Unusable::Revocation);
        }
        if key.starts_with(REPLICAS) {
            let heartbeat = serde_json::from_slice(value).map_err(|_| Unusable::Heartbeat)?;
            return Ok(Some(Self::Heartbeat(heartbeat)));
        }
        if key.starts_with(FEATURES) {
            return Ok(Some(Self::Feature(FeatureRecord::from_bytes(value).map_err(Unusable::Feature)?)));
        }
        if key.starts_with(PUBLISHED) {
            let fetched = FetchedJwks::from_bytes(key, value).map_err(Unusable::PublishedJwks)?;
            return Ok(Some(Self::PublishedJwks(Arc::new(fetched))));
        }
        if key.starts_with(FETCHED_BUNDLES) {
            let fetched = FetchedBundle::from_bytes(key, value, sealer).map_err(Unusable::FetchedBundle)?;
            return Ok(Some(Self::FetchedBundle(Arc::new(fetched))));
        }
        if key.starts_with(ROLES) {
            return Err(Unusable::Role);
        }
        Ok(None)
    }
}
