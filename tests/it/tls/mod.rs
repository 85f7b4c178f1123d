//! The TLS listeners.

mod alerts;
mod certificates;
mod limits;
mod tls_door;
