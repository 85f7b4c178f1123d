//! The TLS listeners.

mod certificates;
mod keepalive;
mod limits;
mod tls_door;
