//! Connections: accepted, distributed among the serving threads, and served.

mod connection;
mod connection_limit;
mod door;
mod host;
mod listener;
mod stream;
mod workers;

pub(in crate::server) use crate::server::transport::connection::Limits;
pub(in crate::server) use crate::server::transport::connection_limit::ConnectionLimit;
pub(in crate::server) use crate::server::transport::door::Door;
pub(in crate::server) use crate::server::transport::listener::Listener;
pub(in crate::server) use crate::server::transport::workers::Workers;
