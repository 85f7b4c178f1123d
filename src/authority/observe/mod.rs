//! What is recorded and counted.

mod audit;
mod measures;
mod reloads;
mod requests;
mod tally;

pub use crate::authority::observe::audit::AuditEvent;
pub use crate::authority::observe::audit::CheckedRequest;
pub use crate::authority::observe::measures::BOUNDS;
pub use crate::authority::observe::measures::Distribution;
pub use crate::authority::observe::measures::Durations;
pub use crate::authority::observe::measures::Family;
pub use crate::authority::observe::measures::Labels;
pub use crate::authority::observe::measures::Measures;
pub use crate::authority::observe::measures::Sample;
pub use crate::authority::observe::measures::Samples;
pub use crate::authority::observe::measures::labels;
pub use crate::authority::observe::reloads::Reloaded;
pub use crate::authority::observe::reloads::Reloads;
pub use crate::authority::observe::requests::Method;
pub use crate::authority::observe::requests::RequestOutcome;
pub use crate::authority::observe::requests::Requests;
pub use crate::authority::observe::tally::Cache;
pub use crate::authority::observe::tally::HANDSHAKE_FAILED;
pub use crate::authority::observe::tally::OTHER;
pub use crate::authority::observe::tally::Outcome;
pub use crate::authority::observe::tally::TOO_SLOW;
pub use crate::authority::observe::tally::Tally;
pub use crate::authority::observe::tally::Voice;
