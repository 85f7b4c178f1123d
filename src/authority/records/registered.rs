//! A registration and the record that says so.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::records::record;
use crate::authority::records::record::Part;
use crate::authority::records::record::Record;
use crate::authority::records::registry_error::InvalidMetadata;
use crate::authority::records::registry_error::Kind;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;

/// A kind of registrations: metadata that is stored under a name, read into what decisions need.
pub trait Registration: Clone + fmt::Debug + Sized {
    /// The metadata as operators write it and as it is stored.
    type Metadata: Clone + fmt::Debug + DeserializeOwned + Eq + Serialize;
    /// The creation id, or [`NotKept`](crate::authority::records::record::NotKept).
    type CreationId: DeserializeOwned + Part + Serialize;
    /// What is kept of a dynamic registration, or [`NotKept`](crate::authority::records::record::NotKept).
    type Dynamic: Default + DeserializeOwned + Part + Serialize;

    /// What errors call it.
    const KIND: Kind;
    /// The prefix of all its keys in the store; the name follows.
    const PREFIX: &'static str;
    /// The schema of the records that this version reads and writes.
    const SCHEMA: u32;

    /// Reads metadata. What contradicts itself is refused by the name of the field.
    fn parse(metadata: Self::Metadata) -> Result<Self, InvalidMetadata>;

    /// The metadata in its one normal form: defaults spelled out.
    fn metadata(&self) -> &Self::Metadata;

    /// The name, which is unique within the kind.
    fn name(&self) -> &str;

    /// Makes it let nothing through any more.
    fn suspend(&mut self);

    /// The key in the store of the one with this name.
    fn key(name: &str) -> String {
        format!("{}{name}", Self::PREFIX)
    }
}

/// A registration as it counts: what is registered, and the record that says so.
#[derive(Clone, Debug)]
pub struct Registered<T: Registration> {
    /// What is registered, with its metadata.
    pub registration: T,
    /// Who registered it, and when.
    pub record: Record<T::CreationId, T::Dynamic>,
    /// The revision of the record: its `etag`.
    pub revision: Revision,
    /// Whether the record was replaced by one that cannot be read. The registration then lets nothing through, and is changed
    /// by admins alone.
    pub suspended: bool,
}

/// A stored record that is no registration.
#[derive(Debug, thiserror::Error)]
pub enum UnusableRecord {
    /// It is not what this version writes.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
    /// Its metadata is refused.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// It stands under the key of another.
    #[error("the record stands under the key of another")]
    Misplaced,
}

impl<T: Registration> Registered<T> {
    /// What is registered at a revision.
    pub fn new(registration: T, record: Record<T::CreationId, T::Dynamic>, revision: Revision) -> Self {
        Self { registration, record, revision, suspended: false }
    }

    /// Reads the value that is stored under a name.
    pub(in crate::authority) fn read(name: &str, value: &[u8], revision: Revision) -> Result<Self, UnusableRecord> {
        let (registration, record) = Self::parts(value)?;
        // A deletion goes by the name: a record under another key would outlive it.
        if name != registration.name() {
            return Err(UnusableRecord::Misplaced);
        }
        Ok(Self::new(registration, record, revision))
    }

    /// What a stored value says is registered, under whichever name.
    pub(in crate::authority) fn parse(value: &[u8]) -> Result<T, UnusableRecord> {
        Ok(Self::parts(value)?.0)
    }

    fn parts(value: &[u8]) -> Result<(T, Record<T::CreationId, T::Dynamic>), UnusableRecord> {
        let (metadata, record) = record::read(value, T::SCHEMA)?;
        Ok((T::parse(metadata)?, record))
    }

    /// The value to store.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        record::write(self.registration.metadata(), &self.record, T::SCHEMA)
    }

    /// Its record was replaced, at `revision`, by one that cannot be read.
    pub(in crate::authority) fn suspend(&mut self, revision: Revision) {
        self.registration.suspend();
        (self.revision, self.suspended) = (revision, true);
    }
}
