//! A registration together with its stored record.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::authority::records::record;
use crate::authority::records::record::Part;
use crate::authority::records::record::Record;
use crate::authority::records::registry_error::InvalidMetadata;
use crate::authority::records::registry_error::Kind;
use crate::authority::store::Revision;
use crate::authority::store::TooNew;
use crate::authority::store::UnreadableRecord;

/// A kind of registration: metadata that is stored under a name and parsed into the form that decisions use.
pub trait Registration: Clone + fmt::Debug + Sized {
    /// The metadata as operators write it and as it is stored.
    type Metadata: Clone + fmt::Debug + DeserializeOwned + Eq + Serialize;
    /// The creation id, or [`NotKept`](crate::authority::records::record::NotKept).
    type CreationId: Default + DeserializeOwned + Part + Serialize;
    /// The stored data of a dynamic registration, or [`NotKept`](crate::authority::records::record::NotKept).
    type Dynamic: Default + DeserializeOwned + Part + Serialize;

    /// The kind that errors name.
    const KIND: Kind;
    /// The prefix of all its keys in the store. The name follows.
    const PREFIX: &'static str;
    /// The newest schema of the records that this version reads.
    const SCHEMA: u32;

    /// Parses metadata. Contradictory metadata is rejected with the name of the field.
    fn parse(metadata: Self::Metadata) -> Result<Self, InvalidMetadata>;

    /// The metadata in normal form: defaults filled in.
    fn metadata(&self) -> Cow<'_, Self::Metadata>;

    /// The name, which is unique within the kind.
    fn name(&self) -> &str;

    /// The oldest schema that can say what is registered. Records are written in it, so that earlier versions read them.
    fn schema(&self) -> u32;

    /// Suspends the registration, so that it allows nothing.
    fn suspend(&mut self);

    /// A suspended registration in the place of one that cannot be read. Of its metadata only the members that name
    /// something are looked at, which each version writes as this one does. `None` where the name is none.
    fn outline(name: &str, metadata: &Value) -> Option<Self>;

    /// The key in the store of the registration with this name.
    fn key(name: &str) -> String {
        format!("{}{name}", Self::PREFIX)
    }
}

/// The record of a kind of registration.
pub type RecordOf<T> = Record<<T as Registration>::CreationId, <T as Registration>::Dynamic>;

/// A registration that is in effect, together with its record.
#[derive(Clone, Debug)]
pub struct Registered<T: Registration> {
    /// The registration, with its metadata.
    pub registration: T,
    /// The record: which identity registered it, and when.
    pub record: RecordOf<T>,
    /// The revision of the record, which is its `etag`.
    pub revision: Revision,
    /// Why the registration is suspended: its record cannot be read. It then allows nothing, and only admins can change
    /// it.
    pub suspended: Option<Suspended>,
}

/// What `managed_by` must be, as a phrase that follows the field's name.
pub(in crate::authority) const MANAGER_SHAPE: &str = "must be 1 to 128 visible ASCII characters";

/// Whether a value of `managed_by` may be registered.
pub(in crate::authority) fn is_manager(name: Option<&str>) -> bool {
    name.is_none_or(|name| (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Why a registration is suspended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Suspended {
    /// The record is not what any version writes. A change replaces it.
    #[error("the record cannot be read: apply it again, or delete it")]
    Damaged,
    /// A newer version wrote the record. A change here would lose what it says.
    #[error(transparent)]
    TooNew(#[from] TooNew),
}

/// Why a stored record is not a valid registration.
#[derive(Debug, thiserror::Error)]
pub enum UnusableRecord {
    /// The record cannot be read by this version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
    /// The metadata is invalid.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// The record is stored under the key of another registration.
    #[error("the record is stored under the key of another")]
    Misplaced,
}

impl<T: Registration> Registered<T> {
    /// Combines a registration with its record and the revision of that record.
    pub fn new(registration: T, record: RecordOf<T>, revision: Revision) -> Self {
        Self { registration, record, revision, suspended: None }
    }

    /// Parses the value that is stored under a name.
    pub(in crate::authority) fn read(name: &str, value: &[u8], revision: Revision) -> Result<Self, UnusableRecord> {
        let (registration, record) = Self::parts(value)?;
        // Deletion uses the name: a record under another key would remain after it.
        if name != registration.name() {
            return Err(UnusableRecord::Misplaced);
        }
        Ok(Self::new(registration, record, revision))
    }

    /// Parses the registration in a stored value, under any name.
    pub(in crate::authority) fn parse(value: &[u8]) -> Result<T, UnusableRecord> {
        Ok(Self::parts(value)?.0)
    }

    fn parts(value: &[u8]) -> Result<(T, RecordOf<T>), UnusableRecord> {
        let (metadata, record) = record::read(value, T::SCHEMA)?;
        Ok((T::parse(metadata)?, record))
    }

    /// The value to store, as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        record::write(&*self.registration.metadata(), &self.record, self.registration.schema())
    }

    /// Suspends the registration because its record was replaced, at `revision`, by one that cannot be read.
    pub(in crate::authority) fn suspend(&mut self, revision: Revision, why: Suspended) {
        self.registration.suspend();
        (self.revision, self.suspended) = (revision, Some(why));
    }

    /// Whether a stored value that cannot be read has the metadata that says what it names.
    pub(in crate::authority) fn says_its_names(value: &[u8]) -> bool {
        record::outline::<T::CreationId, T::Dynamic>(value).0.is_object()
    }

    /// The suspended registration in the place of the value that is stored under a name, and cannot be read.
    pub(in crate::authority) fn outline(name: &str, value: &[u8], revision: Revision, why: Suspended) -> Option<Self> {
        let (metadata, record) = record::outline(value);
        let registration = T::outline(name, &metadata)?;
        Some(Self { registration, record, revision, suspended: Some(why) })
    }
}
