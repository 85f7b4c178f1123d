//! The parts common to all registrations: storage, listing by name and errors.

mod by_name;
mod duration;
mod history;
mod record;
mod registered;
mod registry_error;
mod shared;

pub use crate::authority::records::by_name::ByName;
pub(in crate::authority) use crate::authority::records::duration::SHAPE as DURATION_SHAPE;
pub(in crate::authority) use crate::authority::records::duration::deserialize as deserialize_duration;
pub(in crate::authority) use crate::authority::records::duration::parse as parse_duration;
pub(in crate::authority) use crate::authority::records::duration::serialize as serialize_duration;
pub use crate::authority::records::history::ChangeRecord;
pub use crate::authority::records::history::HISTORY;
pub use crate::authority::records::history::MAX_CHANGES;
pub use crate::authority::records::history::RegistrationChange;
pub(in crate::authority) use crate::authority::records::history::digest as digest_of;
pub(in crate::authority) use crate::authority::records::history::key as change_key;
pub(in crate::authority) use crate::authority::records::history::number as change_number;
pub(in crate::authority) use crate::authority::records::history::prefix as history_of;
pub use crate::authority::records::record::NotKept;
pub use crate::authority::records::record::Part;
pub use crate::authority::records::record::Record;
pub(in crate::authority) use crate::authority::records::registered::MANAGER_SHAPE;
pub use crate::authority::records::registered::RecordOf;
pub use crate::authority::records::registered::Registered;
pub use crate::authority::records::registered::Registration;
pub use crate::authority::records::registered::Suspended;
pub use crate::authority::records::registered::UnusableRecord;
pub(in crate::authority) use crate::authority::records::registered::is_manager;
pub use crate::authority::records::registry_error::InvalidMetadata;
pub use crate::authority::records::registry_error::Kind;
pub use crate::authority::records::registry_error::NotGranted;
pub use crate::authority::records::registry_error::OldReplica;
pub use crate::authority::records::registry_error::RegistryError;
pub(in crate::authority) use crate::authority::records::shared::Shared;
