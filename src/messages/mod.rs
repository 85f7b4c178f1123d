//! The messages of the registry and the metadata of the core, each made from the other. gRPC and the command line share it.

mod client;
mod common;
mod resource;

pub use crate::messages::common::Malformed;
pub use crate::messages::common::Masked;
pub use crate::messages::common::etag;
pub use crate::messages::common::revision;
