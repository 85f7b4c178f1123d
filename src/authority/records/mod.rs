//! The parts common to all registrations: storage, listing by name and errors.

mod by_name;
mod record;
mod registered;
mod registry_error;

pub use crate::authority::records::by_name::ByName;
pub use crate::authority::records::record::NotKept;
pub use crate::authority::records::record::Part;
pub use crate::authority::records::record::Record;
pub use crate::authority::records::registered::RecordOf;
pub use crate::authority::records::registered::Registered;
pub use crate::authority::records::registered::Registration;
pub use crate::authority::records::registered::UnusableRecord;
pub use crate::authority::records::registry_error::InvalidMetadata;
pub use crate::authority::records::registry_error::Kind;
pub use crate::authority::records::registry_error::RegistryError;
