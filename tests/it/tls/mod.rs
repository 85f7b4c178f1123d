//! The TLS listeners.

mod certificates;
mod limits;
mod tls_door;
