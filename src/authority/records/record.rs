//! The stored form of a registration: JSON that an operator can read.

use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::de::Visitor;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;

/// The stored data of a registration other than its metadata: its creator, its times, and the members specific to its
/// kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record<C, D> {
    /// A random value, generated when a client is registered and kept until it is deleted. Tokens contain it, so that
    /// tokens of a deleted client stay invalid when the client is registered again.
    pub creation_id: C,
    /// When it was registered.
    pub create_time: Timestamp,
    /// The identity that registered it.
    pub created_by: Arc<str>,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// The identity that last changed it.
    pub updated_by: Arc<str>,
    /// When a change of its authentication last took effect; `None` where it never changed. Tokens that were issued until
    /// then are refused. Records of earlier versions lack it.
    pub authentication_changed_at: Option<Timestamp>,
    /// The data of a dynamic registration, if it was registered over HTTP.
    pub dynamic: D,
}

impl<C, D: Default> Record<C, D> {
    /// The record of a new registration.
    pub fn new(creation_id: C, now: Timestamp, by: &str) -> Self {
        let by: Arc<str> = by.into();
        Self {
            creation_id,
            create_time: now,
            created_by: Arc::clone(&by),
            update_time: now,
            updated_by: by,
            authentication_changed_at: None,
            dynamic: D::default(),
        }
    }
}

impl<C: Clone, D: Clone> Record<C, D> {
    /// The record of the same registration after a change.
    #[must_use]
    pub fn updated(&self, now: Timestamp, by: &str) -> Self {
        Self { update_time: now, updated_by: by.into(), ..self.clone() }
    }
}

/// The JSON object in the store.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored<M, C: Part, D: Part> {
    schema: u32,
    #[serde(skip_serializing_if = "Part::is_left_out")]
    creation_id: C,
    metadata: M,
    create_time: Timestamp,
    created_by: Arc<str>,
    update_time: Timestamp,
    updated_by: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authentication_changed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Part::is_left_out")]
    dynamic: D,
}

/// Parses a stored value.
pub(super) fn read<M: DeserializeOwned, C: DeserializeOwned + Part, D: DeserializeOwned + Part>(
    bytes: &[u8],
    schema: u32,
) -> Result<(M, Record<C, D>), UnreadableRecord> {
    let stored: Stored<M, C, D> = read_record(bytes, schema)?;
    let Stored { schema: _, creation_id, metadata, create_time, created_by, update_time, updated_by, .. } = stored;
    let Stored { authentication_changed_at, dynamic, .. } = stored;
    let record =
        Record { creation_id, create_time, created_by, update_time, updated_by, authentication_changed_at, dynamic };
    Ok((metadata, record))
}

/// What can be read of a stored value of a newer schema: its metadata, and the times and authors of its changes.
pub(super) fn outline<C: Default, D: Default>(bytes: &[u8]) -> (Value, Record<C, D>) {
    let stored: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let time = |name| stored.get(name).and_then(|time| Timestamp::deserialize(time).ok()).unwrap_or(Timestamp(0));
    let by = |name| stored.get(name).and_then(Value::as_str).unwrap_or_default();
    let record = Record {
        update_time: time("update_time"),
        updated_by: by("updated_by").into(),
        ..Record::new(C::default(), time("create_time"), by("created_by"))
    };
    (stored.get("metadata").cloned().unwrap_or_default(), record)
}

/// The value to store.
pub(super) fn write<M: Serialize, C: Part + Serialize, D: Part + Serialize>(
    metadata: &M,
    record: &Record<C, D>,
    schema: u32,
) -> Result<Vec<u8>, serde_json::Error> {
    let Record { creation_id, create_time, created_by, update_time, updated_by, authentication_changed_at, dynamic } =
        record.clone();
    let stored = Stored {
        schema,
        creation_id,
        metadata,
        create_time,
        created_by,
        update_time,
        updated_by,
        authentication_changed_at,
        dynamic,
    };
    serde_json::to_vec(&stored)
}

/// A record member that only some kinds have.
pub trait Part: Clone + std::fmt::Debug + Eq {
    /// Whether the member is omitted from the JSON.
    fn is_left_out(&self) -> bool;
}

impl Part for Box<str> {
    fn is_left_out(&self) -> bool {
        false
    }
}

impl<T: Clone + std::fmt::Debug + Eq> Part for Option<T> {
    fn is_left_out(&self) -> bool {
        self.is_none()
    }
}

/// A member that the records of a kind do not have. A record that contains it is rejected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NotKept;

impl Part for NotKept {
    fn is_left_out(&self) -> bool {
        true
    }
}

impl Serialize for NotKept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl<'de> Deserialize<'de> for NotKept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nothing;
        impl Visitor<'_> for Nothing {
            type Value = NotKept;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("no such member")
            }

            fn visit_none<E>(self) -> Result<NotKept, E> {
                Ok(NotKept)
            }
        }
        deserializer.deserialize_option(Nothing)
    }
}
