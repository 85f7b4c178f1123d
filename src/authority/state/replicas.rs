//! The replicas that use the same store, by their heartbeats.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use imbl::OrdMap;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::store::Revision;

/// The prefix of the heartbeats in the store. The name of the replica follows.
pub const REPLICAS: &str = "/replicas/";

/// A replica's heartbeat.
///
/// Every version must be able to read those of all others: what is unknown is ignored.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Heartbeat {
    /// The schema of this record.
    pub schema: u32,
    /// The number of the heartbeat since the replica started.
    pub beat: u64,
    /// The version of the replica.
    #[serde(default)]
    pub version: String,
    /// The `kid` of each signing key that the replica verifies and publishes.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The newest schema that the replica reads, for each prefix of records.
    #[serde(default)]
    pub reads: BTreeMap<String, u32>,
}

/// The replicas whose last heartbeat has not expired.
#[derive(Clone, Debug, Default)]
pub struct Replicas(OrdMap<String, (Heartbeat, Revision)>);

impl Replicas {
    /// The name and the last heartbeat of each replica.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Heartbeat, Revision)> {
        self.0.iter().map(|(name, (heartbeat, revision))| (name.as_str(), heartbeat, *revision))
    }

    /// Whether every replica verifies and publishes this signing key. Where there are no heartbeats, this process is the
    /// only replica.
    pub fn all_serve(&self, key_id: &str) -> bool {
        self.all().all(|(_, heartbeat, _)| heartbeat.keys.iter().any(|key| key == key_id))
    }

    pub(in crate::authority) fn revision_of(&self, name: &str) -> Option<Revision> {
        self.0.get(name).map(|(_, revision)| *revision)
    }

    pub(in crate::authority) fn insert(&mut self, name: &str, heartbeat: Heartbeat, revision: Revision) {
        self.0.insert(name.to_owned(), (heartbeat, revision));
    }

    pub(in crate::authority) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// This replica of several.
#[derive(Debug)]
pub(in crate::authority) struct Replica {
    /// Its name, which no other replica has.
    pub(in crate::authority) name: String,
    /// The number of the last heartbeat.
    pub(in crate::authority) beats: AtomicU64,
    /// Until when this replica leads, in milliseconds of the clock's elapsed time.
    pub(in crate::authority) leads_until: AtomicU64,
}

impl Replica {
    pub(in crate::authority) fn new(name: String) -> Self {
        Self { name, beats: AtomicU64::new(0), leads_until: AtomicU64::new(0) }
    }

    /// The key of its heartbeat.
    pub(in crate::authority) fn key(&self) -> String {
        format!("{REPLICAS}{}", self.name)
    }
}

/// A key whose record in the snapshot may not be the one in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The revision of the record in the store; `None` if there is none.
    pub stored: Option<Revision>,
    /// The revision of the record in the snapshot; `None` if there is none.
    pub held: Option<Revision>,
}
