//! What is recorded and counted.

mod audit;
mod families;
mod metrics;
mod reloads;
mod requests;

pub use crate::authority::observe::audit::AuditEvent;
pub use crate::authority::observe::audit::CheckedRequest;
pub use crate::authority::observe::families::BOUNDS;
pub use crate::authority::observe::families::Distribution;
pub use crate::authority::observe::families::Durations;
pub use crate::authority::observe::families::Family;
pub use crate::authority::observe::families::Labels;
pub use crate::authority::observe::families::MetricsReader;
pub use crate::authority::observe::families::Sample;
pub use crate::authority::observe::families::Samples;
pub use crate::authority::observe::families::labels;
pub use crate::authority::observe::metrics::Cache;
pub use crate::authority::observe::metrics::HANDSHAKE_FAILED;
pub use crate::authority::observe::metrics::Lookup;
pub use crate::authority::observe::metrics::Metrics;
pub use crate::authority::observe::metrics::OTHER;
pub use crate::authority::observe::metrics::Outcome;
pub use crate::authority::observe::metrics::Question;
pub use crate::authority::observe::metrics::TOO_SLOW;
pub use crate::authority::observe::reloads::Reloaded;
pub use crate::authority::observe::reloads::Reloads;
pub use crate::authority::observe::requests::RequestOutcome;
pub use crate::authority::observe::requests::Requests;
