//! The memory of refusals: why each of the recent ones was refused, by the reference that its caller got. It is bounded, and
//! has neither tokens nor keys.

mod explained;
mod memory;
mod refusal;

pub use crate::authority::observe::recent::explained::ExplainedRefusal;
pub use crate::authority::observe::recent::explained::Unexplained;
pub use crate::authority::observe::recent::explained::UnexplainedCode;
pub use crate::authority::observe::recent::memory::MAX_REFUSALS_BYTES;
pub use crate::authority::observe::recent::memory::RecentRefusals;
pub use crate::authority::observe::recent::memory::RefusalFilter;
pub use crate::authority::observe::recent::refusal::Grounds;
pub use crate::authority::observe::recent::refusal::RecentRefusal;
