//! Connections: accepted, distributed among the serving threads, and served.

mod connection;
mod connection_limit;
mod control_frames;
mod door;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gate;
mod gathered;
mod guarded;
mod host;
mod http;
mod listener;
mod newcomers;
mod origin;
mod places;
mod proxy_header;
mod refusal;
mod stream;
mod time_limits;
mod unguarded;
mod workers;

pub(in crate::server) use crate::server::transport::door::Door;
pub(in crate::server) use crate::server::transport::listener::Listener;
pub(in crate::server) use crate::server::transport::newcomers::Newcomers;
pub(in crate::server) use crate::server::transport::time_limits::Limits;
pub(in crate::server) use crate::server::transport::workers::Workers;
