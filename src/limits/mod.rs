//! How much of the server one caller may take, and which requests are refused when there are too many.
//!
//! Each caller has a share: of connections, of requests under way, of requests for each second, and of the bytes that are
//! buffered for it. It is found once for each connection; a request costs a few atomic operations. Beside that, each
//! serving thread measures how long requests wait for it, and refuses the less urgent ones while they wait too long.

mod activity;
mod admission;
mod bounds;
mod caller_limits;
mod callers;
mod config;
mod controller;
mod level;
mod machine;
mod metrics;
mod reserve;
mod role;
mod share;
mod shares;
#[cfg(test)]
mod simulation;

pub use crate::limits::activity::Busy;
pub use crate::limits::admission::Admission;
pub use crate::limits::admission::Lateness;
pub use crate::limits::bounds::Bounds;
pub use crate::limits::bounds::CallerBounds;
pub use crate::limits::bounds::SetBounds;
pub use crate::limits::bounds::SetCallerBounds;
pub use crate::limits::bounds::buffered_bytes;
pub use crate::limits::caller_limits::CallerLimits;
pub use crate::limits::callers::Callers;
pub use crate::limits::callers::Selector;
pub use crate::limits::config::Config;
pub use crate::limits::controller::Controller;
pub use crate::limits::machine::Machine;
pub use crate::limits::metrics::Refusals;
pub use crate::limits::reserve::Reserve;
pub use crate::limits::role::CallerRole;
pub use crate::limits::share::Hold;
pub use crate::limits::share::REQUEST_BYTES;
pub use crate::limits::share::Share;
pub use crate::limits::share::UnderWay;
pub use crate::limits::shares::Connection;
pub use crate::limits::shares::Shares;
