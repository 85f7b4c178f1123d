//! The audit trail as a file of JSON Lines that cannot be changed unnoticed: each line has the number of its record and the hash
//! of the line before, and the last hash is signed each minute.

mod chain;
mod config;
mod key;
mod output;
mod sink;
mod verify;

pub use crate::telemetry::trail::config::Config;
pub use crate::telemetry::trail::config::TrailError;
pub use crate::telemetry::trail::key::HeadKey;
pub use crate::telemetry::trail::key::HeadVerifier;
pub use crate::telemetry::trail::key::PublicKey;
pub use crate::telemetry::trail::key::jwk_set;
pub use crate::telemetry::trail::sink::AuditFile;
pub use crate::telemetry::trail::sink::Counts;
pub use crate::telemetry::trail::verify::Chain;
pub use crate::telemetry::trail::verify::Fault;
pub use crate::telemetry::trail::verify::Lost;
pub use crate::telemetry::trail::verify::Verified;
pub use crate::telemetry::trail::verify::verify;
