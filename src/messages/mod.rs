//! Conversions between the registry's messages and the core's metadata, shared by gRPC and the command line.

mod change;
mod client;
mod common;
mod exchange;
mod grant;
mod json;
mod resource;

pub use crate::messages::change::change_of_client;
pub use crate::messages::change::change_of_grant;
pub use crate::messages::change::change_of_resource;
pub use crate::messages::change::change_of_state;
pub use crate::messages::common::Malformed;
pub use crate::messages::common::Masked;
pub use crate::messages::common::etag;
pub use crate::messages::common::revision;
pub use crate::messages::common::timestamp;
pub use crate::messages::exchange::exchange_rule;
pub use crate::messages::exchange::txn_rule_message;
pub use crate::messages::json::json_object;
pub use crate::messages::json::json_struct;
