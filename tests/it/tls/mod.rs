//! The TLS listeners.

mod alerts;
mod certificates;
mod keepalive;
mod limits;
mod tls_door;
