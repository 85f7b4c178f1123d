//! The audit trail as JSON Lines that cannot be changed unnoticed: each line has the number of its record and the hash of the
//! line before, and the last hash is signed each minute. A file, standard output and a collector of OTLP logs get the same lines.

mod chain;
mod collector;
mod config;
mod destination;
mod file;
mod key;
mod lines;
mod print;
mod read;
mod sink;
mod stdout;
mod verify;

pub use crate::telemetry::trail::config::Config;
pub use crate::telemetry::trail::config::FileConfig;
pub use crate::telemetry::trail::config::TrailError;
pub use crate::telemetry::trail::key::HeadKey;
pub use crate::telemetry::trail::key::HeadVerifier;
pub use crate::telemetry::trail::key::PublicKey;
pub use crate::telemetry::trail::key::jwk_set;
pub use crate::telemetry::trail::read::record_in;
pub use crate::telemetry::trail::sink::AuditTrail;
pub use crate::telemetry::trail::sink::families;
pub use crate::telemetry::trail::verify::Chain;
pub use crate::telemetry::trail::verify::Expected;
pub use crate::telemetry::trail::verify::Fault;
pub use crate::telemetry::trail::verify::Lost;
pub use crate::telemetry::trail::verify::Others;
pub use crate::telemetry::trail::verify::Verified;
pub use crate::telemetry::trail::verify::verify;
